//! Runs a plan: each step as soon as its dependencies are done, concurrently. This is the only module that changes
//! anything.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::plan::Plan;
use crate::base::error::{Failure, Result};
use crate::base::event::Event;
use crate::resources::context::Context;
use crate::resources::kinds::kinds;
use crate::resources::{Action, Change, Id, Step, instance};

/// Runs all steps. After the first failure no new step starts, and running steps finish.
///
/// # Errors
/// The first failure, with the resources that exist afterwards.
pub async fn execute(context: &Context, plan: Plan) -> Result<()> {
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
                begun.insert(step.id.clone());
                let context = context.about(&step.id);
                running.spawn(async move { (step.id.clone(), run(&context, step).await) });
            }
        }
        match running.join_next().await {
            None => break,
            Some(Ok((id, Ok(())))) => {
                done.insert(id);
            }
            Some(Ok((_, Err(error)))) => {
                // A step that was asked to stop has not failed.
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
        Some(failure) => Err(with_standing(failure, launched(context), &begun, &done, &waiting)),
    }
}

/// Runs all steps without a word, also when the user wants to stop: for what completes an earlier plan.
///
/// # Errors
/// The first failure.
pub async fn complete(context: &Context, plan: Plan) -> Result<()> {
    for step in plan.steps {
        let done = apply(&context.about(&step.id), step.change).await?;
        tracing::debug!("{}: {done}", step.id);
    }
    Ok(())
}

fn take_ready(waiting: &mut Vec<Step>, done: &BTreeSet<Id>) -> Vec<Step> {
    let (ready, rest) =
        std::mem::take(waiting).into_iter().partition(|step| step.needs.iter().all(|need| done.contains(need)));
    *waiting = rest;
    ready
}

async fn run(context: &Context, step: Step) -> Result<()> {
    let topic = || context.id().to_string().into();
    context.tell(Event::Begin(topic(), doing(step.action).to_owned()));
    let outcome = apply(context, step.change).await;
    context.tell(match &outcome {
        Ok(what) => Event::Done(topic(), what.clone()),
        // Another step has the error.
        Err(failure) if failure.is_cut_short() => Event::Leave(topic(), "stopped waiting for it".to_owned()),
        Err(failure) => Event::Fail(topic(), failure.what().to_owned()),
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

macro_rules! generate {
    ($($kind:ident $module:ident $title:literal,)*) => {
        async fn apply(context: &Context, change: Change) -> Result<String> {
            // The engine waits until an instance is healthy; all other kinds are applied by their own modules.
            #[allow(clippy::wildcard_imports, reason = "the list of kinds names what of it is used")]
            use crate::resources::*;
            use super::health::{self as health_gate, data as data_gate};
            match change {
                $(Change::$kind(change) => $module::apply(context, change).await,)*
            }
        }
    };
}
kinds!(generate);

fn launched(context: &Context) -> Option<String> {
    context.known::<instance::Output>(&instance::ID).filter(|instance| instance.launched).map(|instance| instance.id)
}

fn crashed(error: &tokio::task::JoinError) -> Failure {
    Failure::bug(format!("a step ended unexpectedly: {error}"))
}

/// Adds the progress of each step to the failure. A started step may have created billed resources, so a launched
/// instance is named by its id.
fn with_standing(
    failure: Failure,
    launched: Option<String>,
    begun: &BTreeSet<Id>,
    done: &BTreeSet<Id>,
    waiting: &[Step],
) -> Failure {
    let name = |id: &Id| match launched.as_ref().filter(|_| *id == instance::ID) {
        Some(instance) => format!("{id} {instance}"),
        None => id.to_string(),
    };
    let list = |ids: Vec<String>| if ids.is_empty() { "nothing".to_owned() } else { ids.join(", ") };
    let finished = list(done.iter().map(name).collect());
    let halves: Vec<String> = begun.difference(done).map(name).collect();
    let halves = if halves.is_empty() { String::new() } else { format!(" Started: {}.", halves.join(", ")) };
    let left = list(waiting.iter().map(|step| name(&step.id)).collect());
    let own = failure.left_standing().map(|text| format!("{text} ")).unwrap_or_default();
    failure.standing(format!(
        "{own}Done in this run: {finished}.{halves} Not started: {left}. The same command continues from here."
    ))
}
