//! The EC2 instance. Its tags contain its orders, which its agent reads.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName};

use super::kinds::{self, Id};
use super::orders::Orders;
use super::outputs::Outputs;
use super::step::{Resource, Step, only};
use super::{
    Action, Observed, Planned, Sight, Tags, any_name_tag, by_name_tag, elastic_ip, from_ec2, missing, set_tags, token,
    untagged,
};
use crate::aws::retry::{Backoff, Retry, patiently};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::{digest, names};
use crate::config;
use crate::resources::context::Context;

mod build;
mod credits;
mod kind;
mod launch;
mod running;

pub use build::{Build, build, newest};
pub(crate) use credits::unlimited;
pub use credits::{Credits, set as set_credits};
pub use kind::Kind;
pub(crate) use kind::{observe as observe_kind, request as request_kind, request_free as request_free_kinds};
pub use launch::{Image, Order, image, not_there};
pub use running::{Running, running};

/// The state of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `i-…`
    pub id: String,
    /// Its lifecycle state.
    pub phase: Phase,
    /// EC2's name of the type.
    pub kind: String,
    /// The image that it was launched from, `ami-…`.
    pub image: String,
    /// Its current public address.
    pub ip: Option<Ipv4Addr>,
    /// The attached instance profile.
    pub profile: Option<Profile>,
    /// Whether its metadata options are as we set them.
    pub metadata: bool,
    /// All tags.
    pub tags: Tags,
    /// The launch time, in seconds since 1970.
    pub launched: i64,
}

impl State {
    /// Its orders.
    pub fn orders(&self) -> Orders {
        Orders::of(&self.tags)
    }
}

/// EC2's states, as far as devopsctl distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// pending
    Pending,
    /// running
    Running,
    /// stopping
    Stopping,
    /// stopped
    Stopped,
    /// shutting-down: it is about to be terminated
    Dying,
}

impl Phase {
    /// EC2's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Stopped => "stopped",
            Phase::Dying => "shutting-down",
        }
    }
}

/// The instance profile of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The ARN.
    pub arn: String,
    /// `AIPA…`: differs if a profile was re-created under the same name.
    pub id: String,
}

/// The image that an instance must have. Each variant has the id of the newest image, if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Keep the image that it was launched from.
    Keep(Option<&'a str>),
    /// Use the newest image: an instance with an older one is replaced.
    Refresh(&'a str),
}

impl<'a> Origin<'a> {
    fn newest(self) -> Option<&'a str> {
        match self {
            Origin::Keep(newest) => newest,
            Origin::Refresh(newest) => Some(newest),
        }
    }

    /// The image that replaces this one.
    fn instead_of(self, image: &str) -> Option<&'a str> {
        match self {
            Origin::Refresh(newest) if newest != image => Some(newest),
            _ => None,
        }
    }
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Launch an instance. If only the image differs from that of the old instance, `image` is the new one, because the
    /// spec does not distinguish the two launches. `dying`: if EC2 returns one of these, another launch is needed.
    Launch { tags: Tags, image: Option<String>, dying: Vec<String> },
    /// Start it, and set its metadata options, CPU credits and tags, as needed.
    Update { id: String, start: bool, metadata: bool, credits: Option<Credits>, tags: Tags },
    /// Terminate it, and wait until it is terminated.
    Terminate { id: String },
}

/// The wanted instance.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tags, except for spec and orders.
    pub tags: Tags,
    /// The hash of the settings that only a new instance can change: [`spec`].
    pub spec: String,
    /// The release to run.
    pub release: String,
    /// Whether an instance with an older image is replaced.
    pub refresh: bool,
    /// The wanted CPU credits.
    pub cpu_credits: config::CpuCredits,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `i-…`
    pub id: String,
    /// When it was launched or last started, in seconds since 1970.
    pub since: i64,
    /// Whether its CPU credits are unlimited.
    pub unlimited: bool,
    /// Whether this run launched it.
    pub launched: bool,
    /// The token's version in its orders, if this run launched it.
    pub told: Option<i64>,
}

/// The current instance.
pub const ID: Id = Id::of(kinds::Kind::Instance);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        only([kinds::Kind::SecurityGroup, kinds::Kind::KeyPair, kinds::Kind::Token])
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let mut tags = self.tags.clone();
        tags.insert(names::TAG_SPEC.into(), self.spec.clone());
        let (have, found) = (sight.have, sight.found);
        // A replacement knows the address before it gets it, so it can have the certificate in time.
        let address = sight.address.map(|address| address.ip);
        let (release, previous) = (Some(self.release.clone()), sight.before(&self.release));
        let orders = Orders { release, previous, address, ..Orders::default() };
        Ok(diff(&tags, self.origin(have), &orders, self.credits(have, found), found, &have.instances))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(instance) = sight.current {
            let unlimited = sight.have.unlimited.as_ref().is_some_and(|ids| ids.contains(&instance.id));
            let (id, since) = (instance.id.clone(), instance.launched);
            outputs.set(ID, Output { id, since, unlimited, launched: false, told: None });
        }
    }

    /// Replaced instances are terminated once the new one serves. Without a wanted instance, terminating ones are
    /// awaited too.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        use kinds::Kind::{EipAssociation, HealthGate, InstanceProfile, Orders};
        let needs = || only([InstanceProfile, Orders, HealthGate, EipAssociation]);
        let step = |state: &State, reason: &str| {
            let planned = Planned::new(Action::Delete, vec![reason.into()], Change::Terminate { id: state.id.clone() });
            planned.step(Id::named(ID.kind, &state.id), needs())
        };
        Ok(match sight.wants(ID.kind) {
            true => sight.leftovers().map(|state| step(state, "another instance replaces it")).collect(),
            false => sight.have.instances.iter().map(|state| step(state, "no longer wanted")).collect(),
        })
    }
}

impl Wanted {
    fn origin<'a>(&self, have: &'a Observed) -> Origin<'a> {
        match have.image.present().map(String::as_str) {
            Some(newest) if self.refresh => Origin::Refresh(newest),
            newest => Origin::Keep(newest),
        }
    }

    /// The current one of the existing instances: [`pick`].
    pub(super) fn choose<'a>(&self, have: &'a Observed) -> Option<&'a State> {
        let leads = |id: &str| have.addresses.iter().any(|address| address.instance.as_deref() == Some(id));
        pick(Some(&self.spec), self.origin(have), leads, |state| have.is_hopeless(state), &have.instances)
    }

    /// Whether the current instance is kept.
    pub(super) fn keeps(&self, found: &State, have: &Observed) -> bool {
        found.tags.get(names::TAG_SPEC) == Some(&self.spec) && self.origin(have).instead_of(&found.image).is_none()
    }

    /// The wanted CPU credits, if the instance does not have them.
    fn credits(&self, have: &Observed, current: Option<&State>) -> Option<Credits> {
        let current = current.filter(|_| have.kind.present().is_some_and(|kind| kind.burstable))?;
        let healthy = have.report_of(&current.id).is_some_and(|report| report.healthy);
        let wanted = Credits::wanted(self.cpu_credits, healthy)?;
        let unlimited = have.unlimited.as_ref()?.contains(&current.id);
        (unlimited != (wanted == Credits::Unlimited)).then_some(wanted)
    }
}

/// Finds all instances that are not terminated, the current one first.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<State>> {
    find(aws, by_name_tag(name)).await
}

/// Finds the instances of all deployments.
pub(super) async fn observe_all(aws: &Aws) -> Result<Vec<State>> {
    find(aws, any_name_tag()).await
}

/// All instances in these states.
async fn pages(aws: &Aws, whose: Option<Filter>, states: &[&str]) -> Result<Vec<Instance>> {
    let states = states.iter().map(|state| (*state).to_owned()).collect();
    let states = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
    let filters: Vec<Filter> = whose.into_iter().chain([states]).collect();
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = aws.ec2.describe_instances().set_filters(Some(filters.clone())).set_next_token(page);
        let answer = call("ec2:DescribeInstances", || request.clone().send())
            .await
            .map_err(|error| explain("cannot list the instances", &error))?;
        found.extend(
            answer.reservations.unwrap_or_default().into_iter().flat_map(|one| one.instances.unwrap_or_default()),
        );
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}

async fn find(aws: &Aws, whose: Filter) -> Result<Vec<State>> {
    let alive = ["pending", "running", "stopping", "stopped", "shutting-down"];
    let mut found: Vec<State> = pages(aws, Some(whose), &alive).await?.into_iter().filter_map(state).collect();
    // Terminating instances last; of several live ones the newest first, because a replacement is newer than the old
    // instance.
    found.sort_by(|a, b| {
        (a.phase == Phase::Dying)
            .cmp(&(b.phase == Phase::Dying))
            .then(b.launched.cmp(&a.launched))
            .then(a.id.cmp(&b.id))
    });
    Ok(found)
}

fn state(instance: Instance) -> Option<State> {
    let phase = phase(instance.state.as_ref()?.name.as_ref()?)?;
    let metadata = instance.metadata_options.as_ref().is_some_and(launch::metadata_as_wanted);
    let profile =
        instance.iam_instance_profile.and_then(|profile| Some(Profile { arn: profile.arn?, id: profile.id? }));
    Some(State {
        id: instance.instance_id?,
        phase,
        kind: instance.instance_type.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        image: instance.image_id.unwrap_or_default(),
        ip: instance.public_ip_address.and_then(|ip| ip.parse().ok()),
        profile,
        metadata,
        tags: from_ec2(instance.tags),
        launched: instance.launch_time.map_or(0, |time| time.secs()),
    })
}

fn phase(name: &InstanceStateName) -> Option<Phase> {
    match name {
        InstanceStateName::Pending => Some(Phase::Pending),
        InstanceStateName::Running => Some(Phase::Running),
        InstanceStateName::Stopping => Some(Phase::Stopping),
        InstanceStateName::Stopped => Some(Phase::Stopped),
        InstanceStateName::ShuttingDown => Some(Phase::Dying),
        _ => None,
    }
}

/// A hash of the settings that only a new instance can change. The image counts by name: a newer build of it replaces
/// nothing.
pub fn spec(instance: &config::Instance, image: &str, subnet: Option<&str>) -> String {
    let text = format!("1\n{}\n{image}\n{}\n{}", instance.kind, instance.disk_gib, subnet.unwrap_or_default());
    digest::short(text)
}

/// The instances that are not being terminated.
pub fn alive(have: &[State]) -> impl Iterator<Item = &State> {
    have.iter().filter(|state| state.phase != Phase::Dying)
}

/// Chooses the current instance: it has the wanted spec; of several, the one with the newest image, which an
/// interrupted refresh has left; then the one that `serves` already; then the newest that is not `hopeless`. If none
/// has the spec, the same choice determines the instance to replace.
///
/// `hopeless`: its app failed, or has not become healthy for a long time. If the image is kept, such a refresh is
/// reverted.
fn pick<'a>(
    spec: Option<&String>,
    origin: Origin<'_>,
    serves: impl Fn(&str) -> bool,
    hopeless: impl Fn(&State) -> bool,
    have: &'a [State],
) -> Option<&'a State> {
    let fresh = |state: &State| {
        let newest = origin.newest() == Some(state.image.as_str());
        newest && (matches!(origin, Origin::Refresh(_)) || !hopeless(state))
    };
    // The list starts with the newest, and `max_by_key` returns the last of equal elements.
    let rank =
        |state: &&State| (state.tags.get(names::TAG_SPEC) == spec, fresh(state), serves(&state.id), !hopeless(state));
    let candidates: Vec<&State> = alive(have).collect();
    candidates.into_iter().rev().max_by_key(rank)
}

/// The serving instance: the address points to it; otherwise the newest.
pub fn serving<'a>(have: &'a [State], addresses: &[elastic_ip::State]) -> Option<&'a State> {
    let leads = |state: &&State| addresses.iter().any(|address| address.instance.as_deref() == Some(&state.id));
    alive(have).find(leads).or_else(|| alive(have).next())
}

/// The change to `current` for this spec. A launch includes `orders`; a later change of orders is a step of its own.
/// `credits`: the wanted CPU credits, if they differ.
fn diff(
    tags: &Tags,
    origin: Origin<'_>,
    orders: &Orders,
    credits: Option<Credits>,
    current: Option<&State>,
    have: &[State],
) -> Option<Planned<Change>> {
    let launch = |image: Option<&str>| {
        let mut tags = tags.clone();
        tags.extend(orders.tags());
        let dying = have.iter().filter(|state| state.phase == Phase::Dying).map(|state| state.id.clone());
        Change::Launch { tags, image: image.map(str::to_owned), dying: dying.collect() }
    };
    let Some(current) = current else { return Some(Planned::create("does not exist", launch(None))) };
    if current.tags.get(names::TAG_SPEC) != tags.get(names::TAG_SPEC) {
        let reason = "type, image, disk or subnet changed, which requires a new instance".to_owned();
        return Some(Planned::new(Action::Replace, vec![reason], launch(None)));
    }
    if let Some(newest) = origin.instead_of(&current.image) {
        let reason =
            format!("the newest image is {newest}, and it runs {}, which requires a new instance", current.image);
        return Some(Planned::new(Action::Replace, vec![reason], launch(Some(newest))));
    }
    let address = Orders { address: orders.address, ..Orders::default() };
    let wanted = missing(&tags.clone().into_iter().chain(address.tags()).collect(), &current.tags);
    let start = matches!(current.phase, Phase::Stopping | Phase::Stopped);
    let mut reasons = Vec::new();
    if start {
        reasons.push(format!("it is {}", current.phase.name()));
    }
    if !current.metadata {
        reasons.push("its metadata options were changed".into());
    }
    reasons.extend(credits.map(|credits| format!("its CPU credits are not {}", credits.name())));
    reasons.extend(untagged(&wanted));
    let change = Change::Update { id: current.id.clone(), start, metadata: !current.metadata, credits, tags: wanted };
    (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, change))
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Launch { mut tags, image, dying } => {
            let token = context.known::<token::Output>(&token::ID).map(|token| token.version);
            tags.extend(Orders { token, ..Orders::default() }.tags());
            let id = launch::launch(context, &tags, image.as_deref(), &dying).await?;
            let unlimited = context.credits == Some(Credits::Unlimited);
            context.learn(Output { id: id.clone(), since: 0, unlimited, launched: true, told: token });
            wait_running(context, &id, "launched").await?;
            Ok(format!("{id} is running"))
        }
        Change::Update { id, start, metadata, credits, tags } => {
            if start {
                start_again(context, &id).await?;
            }
            if metadata {
                launch::restore_metadata(context, &id).await?;
            }
            if let Some(credits) = credits {
                set_credits(&context.aws, &id, credits).await?;
                context.change(&ID, |known: &mut Output| known.unlimited = credits == Credits::Unlimited);
            }
            let tagged = set_tags(&context.aws, &[&id], &tags).await;
            tagged.map_err(|error| explain(format!("cannot tag the instance {id}"), &error))?;
            Ok(match credits {
                Some(credits) => format!("{id} has {} CPU credits", credits.name()),
                None => format!("{id} is repaired"),
            })
        }
        Change::Terminate { id } => terminate(context, &id).await,
    }
}

/// A stopping instance can be started only after it has stopped.
async fn start_again(context: &Context, id: &str) -> Result<()> {
    let stopping = |error: &ApiError| {
        context.waits("waiting until it has stopped, to start it again");
        error.is(&["IncorrectInstanceState"]) && !context.interrupted()
    };
    let backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(3));
    let request = || context.aws.ec2.start_instances().instance_ids(id).send();
    patiently(backoff, stopping, || call("ec2:StartInstances", &request))
        .await
        .map_err(|error| explain(format!("cannot start the instance {id}"), &error))?;
    wait_running(context, id, "started").await
}

/// Waits until the instance runs. EC2 may accept a launch and terminate the instance; then EC2 gives the reason.
async fn wait_running(context: &Context, id: &str, begun: &str) -> Result<()> {
    let mut backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(2));
    context.waits(&format!("{id} is {begun}, waiting until it runs"));
    loop {
        match call("ec2:DescribeInstances", || context.aws.ec2.describe_instances().instance_ids(id).send()).await {
            Ok(answer) => {
                let found = answer
                    .reservations
                    .unwrap_or_default()
                    .into_iter()
                    .flat_map(|one| one.instances.unwrap_or_default())
                    .next();
                if let Some(instance) = found {
                    match instance.state.as_ref().and_then(|state| state.name.as_ref()) {
                        Some(InstanceStateName::Running) => {
                            // EC2 updates it at each start.
                            let since = instance.launch_time.map_or(0, |time| time.secs());
                            context.change(&ID, |known: &mut Output| known.since = since);
                            return Ok(());
                        }
                        Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated) => {
                            return Err(died(id, &instance));
                        }
                        _ => {}
                    }
                }
            }
            // A new instance may still be unknown to EC2.
            Err(error) if error.is(&["InvalidInstanceID.NotFound"]) => {}
            Err(error) => return Err(explain(format!("cannot describe the instance {id}"), &error)),
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("the instance {id} does not start"))
                .because("it has been pending for five minutes")
                .next("check it in the EC2 console; then run the same command again"));
        }
    }
}

fn died(id: &str, instance: &Instance) -> Failure {
    let reason = instance.state_reason.as_ref();
    let code = reason.and_then(|reason| reason.code()).unwrap_or("no reason");
    // The text starts with the code.
    let words = reason.and_then(|reason| reason.message()).unwrap_or_default();
    let words = words.trim_start_matches(code).trim_start_matches(": ");
    let next = match code {
        "Client.InvalidKMSKey.InvalidState" | "Client.InternalError" => {
            "the account's default key for disk encryption cannot be used: see EC2 console, Settings, EBS encryption; then run the same command again"
        }
        "Client.VolumeLimitExceeded" => {
            "the account's limit for disks is reached: delete some, or request an increase in the Service Quotas console"
        }
        "Server.InsufficientInstanceCapacity" => {
            "AWS has no capacity for this instance type now: try again in some minutes, or choose another instance.type"
        }
        _ => "run the same command again",
    };
    Failure::failed(format!("EC2 accepted the launch of {id}, then terminated it"))
        .because(format!("{code}: {words}"))
        .next(next)
}

/// Terminates it and waits: a live instance uses the security group and writes reports.
async fn terminate(context: &Context, id: &str) -> Result<String> {
    end(context, &[id.to_owned()]).await?;
    let mut backoff = Backoff::polling(Duration::from_secs(600), Duration::from_secs(2));
    context.waits("waiting until it is terminated");
    loop {
        let left = observe(&context.aws, &context.name).await?;
        if !left.iter().any(|state| state.id == id) {
            return Ok("terminated".into());
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("{id} is still shutting down after ten minutes"))
                .next("run the same command again in some minutes"));
        }
    }
}

async fn end(context: &Context, ids: &[String]) -> Result<()> {
    let request = || context.aws.ec2.terminate_instances().set_instance_ids(Some(ids.to_vec())).send();
    match call("ec2:TerminateInstances", request).await {
        Ok(_) => Ok(()),
        // An unknown id would protect the others: EC2 refuses the whole list.
        Err(error) if error.absent() && ids.len() > 1 => {
            for id in ids {
                Box::pin(end(context, std::slice::from_ref(id))).await?;
            }
            Ok(())
        }
        Err(error) if error.absent() => Ok(()),
        // A terminated instance may have lost its tags, and the caller may have a permission that depends on them.
        Err(error) => match observe(&context.aws, &context.name).await? {
            found if alive(&found).any(|state| ids.contains(&state.id)) => {
                Err(explain("cannot terminate the instance", &error))
            }
            _ => Ok(()),
        },
    }
}

/// Terminates all live instances of this deployment, without waiting.
///
/// # Errors
/// A call to EC2 fails.
pub async fn terminate_all(context: &Context) -> Result<()> {
    let found = observe(&context.aws, &context.name).await?;
    let ids: Vec<String> = alive(&found).map(|state| state.id.clone()).collect();
    if ids.is_empty() { Ok(()) } else { end(context, &ids).await }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::orders::tests::id;

    fn wanted(spec: &str) -> Tags {
        Tags::from([(names::TAG_NAME.into(), "hello".into()), (names::TAG_SPEC.into(), spec.into())])
    }

    fn orders(release: &str, previous: Option<&str>) -> Orders {
        Orders { release: Some(id(release)), previous: previous.map(id), ..Orders::default() }
    }

    fn state(id: &str, phase: Phase, launched: i64) -> State {
        State {
            id: id.into(),
            phase,
            kind: "t3.micro".into(),
            image: "ami-1".into(),
            ip: None,
            profile: None,
            metadata: true,
            tags: wanted("s1").into_iter().chain(orders("1", None).tags()).collect(),
            launched,
        }
    }

    const KEEP: Origin<'_> = Origin::Keep(Some("ami-1"));
    /// No instance is hopeless.
    const NONE: fn(&State) -> bool = |_| false;

    fn spec_of(tags: &Tags) -> Option<&String> {
        tags.get(names::TAG_SPEC)
    }

    #[test]
    fn no_instance_or_a_terminating_one_means_launch() {
        let dying = [state("i-1", Phase::Dying, 1)];
        assert_eq!(pick(spec_of(&wanted("s1")), KEEP, |_| true, NONE, &dying), None);
        let Change::Launch { dying, .. } =
            diff(&wanted("s1"), KEEP, &orders("1", None), None, None, &dying).unwrap().change
        else {
            panic!()
        };
        assert_eq!(dying, ["i-1"]);
    }

    #[test]
    fn another_release_is_a_step_of_its_own() {
        let other = state("i-1", Phase::Running, 1);
        assert_eq!(diff(&wanted("s1"), KEEP, &orders("2", Some("1")), None, Some(&other), &[]), None);
    }

    #[test]
    fn a_new_spec_replaces_the_instance() {
        let have = [state("i-1", Phase::Running, 1)];
        assert_eq!(
            diff(&wanted("s2"), KEEP, &orders("1", None), None, Some(&have[0]), &have).unwrap().action,
            Action::Replace
        );
        let launch = diff(&wanted("s2"), KEEP, &orders("1", Some("0")), None, Some(&have[0]), &have).unwrap().change;
        let Change::Launch { tags, .. } = launch else { panic!() };
        assert_eq!(Orders::of(&tags), orders("1", Some("0")));
    }

    #[test]
    fn the_wanted_spec_counts_first_then_the_serving_one_then_the_newest() {
        let mut new = state("i-2", Phase::Running, 2);
        new.tags.extend(wanted("s2"));
        let have = [new, state("i-1", Phase::Running, 1), state("i-0", Phase::Running, 0)];
        let (one, two) = (wanted("s1"), wanted("s2"));
        assert_eq!(pick(spec_of(&two), KEEP, |id| id == "i-1", NONE, &have).unwrap().id, "i-2");
        assert_eq!(pick(spec_of(&one), KEEP, |_| false, NONE, &have).unwrap().id, "i-1");
        assert_eq!(pick(spec_of(&one), KEEP, |id| id == "i-0", NONE, &have).unwrap().id, "i-0");
        assert_eq!(pick(None, KEEP, |_| false, NONE, &have).unwrap().id, "i-2");
    }

    #[test]
    fn an_image_is_kept_until_a_refresh() {
        let (tags, old) = (wanted("s1"), state("i-1", Phase::Running, 1));
        let newer = "ami-2";
        assert_eq!(diff(&tags, Origin::Keep(Some(newer)), &orders("1", None), None, Some(&old), &[]), None);
        assert_eq!(diff(&tags, Origin::Keep(None), &orders("1", None), None, Some(&old), &[]), None);
        assert_eq!(diff(&tags, Origin::Refresh("ami-1"), &orders("1", None), None, Some(&old), &[]), None);
        let planned = diff(&tags, Origin::Refresh(newer), &orders("1", None), None, Some(&old), &[]).unwrap();
        assert_eq!(planned.action, Action::Replace);
        assert!(["ami-1", "ami-2"].iter().all(|image| planned.reasons[0].contains(image)), "{:?}", planned.reasons);
        assert!(matches!(planned.change, Change::Launch { image: Some(image), .. } if image == newer));
        // A different spec distinguishes the launches already.
        let other = diff(&wanted("s2"), Origin::Refresh(newer), &orders("1", None), None, Some(&old), &[]).unwrap();
        assert!(matches!(other.change, Change::Launch { image: None, .. }));
    }

    /// With or without the flag, the next run continues with the launched instance, although the other one serves.
    #[test]
    fn of_two_the_one_with_the_newest_image_counts() {
        let new = State { image: "ami-2".into(), ..state("i-2", Phase::Running, 2) };
        let have = [new, state("i-1", Phase::Running, 1)];
        let (tags, serves) = (wanted("s1"), |id: &str| id == "i-1");
        for origin in [Origin::Keep(Some("ami-2")), Origin::Refresh("ami-2")] {
            assert_eq!(pick(spec_of(&tags), origin, serves, NONE, &have).unwrap().id, "i-2", "{origin:?}");
        }
        assert_eq!(pick(spec_of(&tags), Origin::Keep(None), serves, NONE, &have).unwrap().id, "i-1");
    }

    #[test]
    fn a_refresh_whose_app_failed_is_reverted_unless_it_is_requested_again() {
        let new = State { image: "ami-2".into(), ..state("i-2", Phase::Running, 2) };
        let have = [new, state("i-1", Phase::Running, 1)];
        let (tags, newest) = (wanted("s1"), "ami-2");
        let picked = |origin, serving: &str| {
            pick(spec_of(&tags), origin, |id| id == serving, |state| state.id == "i-2", &have).unwrap().id.clone()
        };
        assert_eq!(picked(Origin::Keep(Some(newest)), "i-1"), "i-1");
        assert_eq!(picked(Origin::Refresh(newest), "i-1"), "i-2");
        // Without an Elastic IP, the serving instance is unknown.
        assert_eq!(picked(Origin::Keep(Some(newest)), "no one"), "i-1");
        // It serves by now, and failed with a later release.
        assert_eq!(picked(Origin::Keep(Some(newest)), "i-2"), "i-2");
    }

    #[test]
    fn a_stopped_instance_is_started() {
        let planned =
            diff(&wanted("s1"), KEEP, &orders("1", None), None, Some(&state("i-1", Phase::Stopped, 1)), &[]).unwrap();
        assert_eq!(planned.reasons, ["it is stopped"]);
        assert!(matches!(planned.change, Change::Update { start: true, .. }));
    }

    #[test]
    fn the_spec_distinguishes_the_relevant_settings() {
        let instance = config::Instance {
            kind: "t3.micro".into(),
            image: config::Image::Debian13,
            disk_gib: 8,
            cpu_credits: config::CpuCredits::Auto,
        };
        let base = spec(&instance, "debian-13", None);
        assert_eq!(base, spec(&instance, "debian-13", None));
        assert_ne!(base, spec(&instance, "al2023", None));
        assert_ne!(base, spec(&config::Instance { disk_gib: 9, ..instance.clone() }, "debian-13", None));
        assert_ne!(base, spec(&config::Instance { kind: "t3.small".into(), ..instance.clone() }, "debian-13", None));
        assert_ne!(base, spec(&instance, "debian-13", Some("subnet-1")));
    }
}
