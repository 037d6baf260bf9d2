//! Runs a plan: each step the moment its needs are met, all at once that can be. The only place that changes anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::health;
use super::plan::{Change, Kind, Plan, Step};
use crate::base::error::{Failure, Result};
use crate::base::event::Event;
use crate::resources::context::Context;
use crate::resources::{
    Action, address, association, attachment, bucket, edge, ingress, instance, key_pair, orders, record, release,
    reports, role, security_group, token,
};

/// Runs all steps. After the first failure nothing new starts, and what runs finishes.
///
/// # Errors
/// The first failure, with what stands now.
pub async fn execute(context: &Arc<Context>, plan: Plan) -> Result<()> {
    if plan.launches() {
        context.look_at_image();
    }
    let mut waiting = plan.steps;
    let mut running = JoinSet::new();
    let (mut begun, mut done) = (BTreeSet::new(), BTreeSet::new());
    let mut failure: Option<Failure> = None;
    loop {
        if failure.is_none() && !waiting.is_empty() {
            failure = context.stopped();
        }
        if failure.is_none() {
            for step in take_ready(&mut waiting, &done) {
                begun.insert(step.kind);
                let context = Arc::clone(context);
                running.spawn(async move { (step.kind, run(&context, step).await) });
            }
        }
        match running.join_next().await {
            None => break,
            Some(Ok((kind, Ok(())))) => {
                done.insert(kind);
            }
            Some(Ok((_, Err(error)))) => {
                // A step that gave up because it was asked to has not failed.
                failure.get_or_insert_with(|| context.stopped().unwrap_or(error));
                context.fail();
            }
            Some(Err(error)) => {
                failure.get_or_insert_with(|| crashed(&error));
            }
        }
    }
    match failure {
        None => Ok(()),
        Some(failure) => Err(with_standing(failure, context.launched(), &begun, &done, &waiting)),
    }
}

fn take_ready(waiting: &mut Vec<Step>, done: &BTreeSet<Kind>) -> Vec<Step> {
    let (ready, rest) =
        std::mem::take(waiting).into_iter().partition(|step| step.needs.iter().all(|need| done.contains(need)));
    *waiting = rest;
    ready
}

async fn run(context: &Context, step: Step) -> Result<()> {
    let topic = step.kind.title();
    context.tell(Event::Begin(topic, doing(step.action).to_owned()));
    let outcome = apply(context, step.change).await;
    context.tell(match &outcome {
        Ok(what) => Event::Done(topic, what.clone()),
        // The error is another step's.
        Err(failure) if failure.is_cut_short() => Event::Leave(topic, "no longer waited for".to_owned()),
        Err(failure) => Event::Fail(topic, failure.what().to_owned()),
    });
    outcome.map(|_| ())
}

fn doing(action: Action) -> &'static str {
    match action {
        Action::Create => "creating",
        Action::Update => "updating",
        Action::Replace => "replacing",
        Action::Delete => "deleting",
    }
}

async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::SecurityGroup(change) => security_group::apply(context, change).await,
        Change::Ingress(change) => ingress::apply(context, change).await,
        Change::KeyPair(change) => key_pair::apply(context, change).await,
        Change::Role(change) => role::apply(context, change).await,
        Change::Token(change) => token::apply(context, change).await,
        Change::Bucket(change) => bucket::apply(context, change).await,
        Change::Release(change) => release::apply(context, change).await,
        Change::Edge(change) => edge::apply(context, change).await,
        Change::Instance(change) => instance::apply(context, change).await,
        Change::Attachment(change) => attachment::apply(context, change).await,
        Change::Address(change) => address::apply(context, change).await,
        Change::Record(change) => record::apply(context, change).await,
        Change::Association(change) => association::apply(context, change).await,
        Change::Ready(ready) => health::ready(context, ready.release).await,
        Change::Orders(change) => orders::apply(context, change).await,
        Change::Reports(change) => reports::apply(context, change).await,
    }
}

fn crashed(error: &tokio::task::JoinError) -> Failure {
    Failure::bug(format!("one of the steps ended early: {error}"))
}

/// Says of each step how far it has come. What was begun may stand in part, and costs what it costs: so an instance that was
/// launched is named by its id.
fn with_standing(
    failure: Failure,
    launched: Option<String>,
    begun: &BTreeSet<Kind>,
    done: &BTreeSet<Kind>,
    waiting: &[Step],
) -> Failure {
    let name = |kind: &Kind| match launched.as_ref().filter(|_| *kind == Kind::Instance) {
        Some(id) => format!("instance {id}"),
        None => kind.title().to_owned(),
    };
    let list = |kinds: Vec<String>| if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
    let finished = list(done.iter().map(name).collect());
    let halves: Vec<String> = begun.difference(done).map(name).collect();
    let halves = if halves.is_empty() { String::new() } else { format!(" Begun: {}.", halves.join(", ")) };
    let left = list(waiting.iter().map(|step| name(&step.kind)).collect());
    let own = failure.left_standing().map(|text| format!("{text} ")).unwrap_or_default();
    failure.standing(format!(
        "{own}Done in this run: {finished}.{halves} Not begun: {left}. The same command goes on from here."
    ))
}
