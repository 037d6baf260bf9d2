//! The machine. What is wanted of it is written on it: its tags are the desired state that its agent reads.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_sdk_ec2::types::{Instance, InstanceStateName};
use sha2::{Digest, Sha256};

use super::{Action, Planned, Tags, by_name_tag, from_ec2, missing, security_group};
use crate::aws::{Aws, call, explain};
use crate::config;
use crate::engine::context::Context;
use crate::engine::retry::{Backoff, Retry};
use crate::error::{Failure, Result};
use crate::names;

mod launch;

/// An instance as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `i-…`
    pub id: String,
    /// Where in its life it is.
    pub phase: Phase,
    /// EC2's name of the type.
    pub kind: String,
    /// Its public address at the moment.
    pub ip: Option<Ipv4Addr>,
    /// The instance profile that is attached.
    pub profile: Option<Profile>,
    /// Whether its metadata service is as we set it.
    pub metadata: bool,
    /// All its tags.
    pub tags: Tags,
    /// Seconds since 1970.
    pub launched: i64,
}

/// EC2's states, as far as they make a difference.
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
    /// shutting-down: it will never come back
    Dying,
}

impl Phase {
    /// EC2's word.
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

/// The profile that an instance carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its full name.
    pub arn: String,
    /// `AIPA…`: tells a profile from one that was made anew under its name.
    pub id: String,
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Launch one; `fresh`: the nonce was used by one that is dying.
    Launch { tags: Tags, fresh: bool },
    /// Start it, set its metadata options, set tags: as far as wanted.
    Update { id: String, start: bool, metadata: bool, tags: Tags },
    /// End these, and wait until they are gone.
    Terminate { ids: Vec<String> },
}

/// Looks for all that are alive or dying, the one that counts first.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<State>> {
    let alive = ["pending", "running", "stopping", "stopped", "shutting-down"].map(str::to_owned).to_vec();
    let states = aws_sdk_ec2::types::Filter::builder().name("instance-state-name").set_values(Some(alive)).build();
    let request = || aws.ec2.describe_instances().filters(by_name_tag(name)).filters(states.clone()).send();
    let answer = call("ec2:DescribeInstances", request)
        .await
        .map_err(|error| explain("cannot look for the instance", &error))?;
    let reservations = answer.reservations.unwrap_or_default();
    let mut found: Vec<State> =
        reservations.into_iter().flat_map(|one| one.instances.unwrap_or_default()).filter_map(state).collect();
    // The dying last; of several alive the newest counts, because a replacement is younger than what it replaces.
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

/// Hash of what only a new instance can change. The image counts by name: a newer build of it replaces nothing.
pub fn spec(instance: &config::Instance, image: &str, subnet: Option<&str>) -> String {
    let text = format!("1\n{}\n{image}\n{}\n{}", instance.kind, instance.disk_gib, subnet.unwrap_or_default());
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The first that is alive.
pub fn alive(have: &[State]) -> Option<&State> {
    have.iter().find(|state| state.phase != Phase::Dying)
}

/// One instance with this spec. `tags` are all that it is launched with; later the doorbell's are the doorbell's.
pub fn diff(tags: &Tags, have: &[State]) -> Option<Planned<Change>> {
    let fresh = have.iter().any(|state| state.phase == Phase::Dying);
    let Some(current) = alive(have) else {
        let reason = if fresh { "the one there is shutting down" } else { "there is none" };
        return Some(Planned::create(reason, Change::Launch { tags: tags.clone(), fresh }));
    };
    if current.tags.get(names::TAG_SPEC) != tags.get(names::TAG_SPEC) {
        let reason = "type, image, disk or subnet changed, which takes a new instance".to_owned();
        return Some(Planned::new(Action::Replace, vec![reason], Change::Launch { tags: tags.clone(), fresh: true }));
    }
    let mut wanted = missing(tags, &current.tags);
    wanted.remove(names::TAG_RELEASE);
    let start = matches!(current.phase, Phase::Stopping | Phase::Stopped);
    let mut reasons = Vec::new();
    if start {
        reasons.push(format!("it is {}", current.phase.name()));
    }
    if !current.metadata {
        reasons.push("its metadata options were changed".into());
    }
    reasons.extend(wanted.keys().map(|key| format!("tag {key} is missing or different")));
    let change = Change::Update { id: current.id.clone(), start, metadata: !current.metadata, tags: wanted };
    (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, change))
}

/// What is to be done about those that do not count: all but the first that is alive when it has this spec, else all.
pub fn leftovers(spec: Option<&String>, have: &[State]) -> Option<Planned<Change>> {
    let keep = alive(have).filter(|state| state.tags.get(names::TAG_SPEC) == spec);
    let ids: Vec<String> = have
        .iter()
        .filter(|state| state.phase != Phase::Dying && keep.is_none_or(|keep| keep.id != state.id))
        .map(|state| state.id.clone())
        .collect();
    (!ids.is_empty())
        .then(|| Planned::new(Action::Delete, vec!["another takes its place".into()], Change::Terminate { ids }))
}

/// What is to be done so that none stands; those that are dying are waited for.
pub fn removal(have: &[State]) -> Option<Planned<Change>> {
    let ids: Vec<String> = have.iter().map(|state| state.id.clone()).collect();
    (!ids.is_empty()).then(|| Planned::delete(Change::Terminate { ids }))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Launch { tags, fresh } => {
            if fresh {
                security_group::renew_nonce(context, &context.group()?).await?;
            }
            let id = launch::launch(context, &tags).await?;
            context.set_instance(&id);
            wait_running(context, &id).await?;
            Ok(format!("{id} is running"))
        }
        Change::Update { id, start, metadata, tags } => {
            if start {
                start_again(context, &id).await?;
            }
            if metadata {
                launch::restore_metadata(context, &id).await?;
            }
            let tagged = security_group::set_tags(&context.aws, &id, &tags).await;
            tagged.map_err(|error| explain(format!("the instance {id} cannot be tagged"), &error))?;
            Ok(format!("{id} is put right"))
        }
        Change::Terminate { ids } => terminate(context, ids).await,
    }
}

/// A stopping instance cannot be started before it has stopped.
async fn start_again(context: &Context, id: &str) -> Result<()> {
    let mut backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(3));
    loop {
        match call("ec2:StartInstances", || context.aws.ec2.start_instances().instance_ids(id).send()).await {
            Ok(_) => break,
            Err(error) if error.is(&["IncorrectInstanceState"]) => {
                context.check_interrupt()?;
                context.waits("instance", "waiting until it has stopped, to start it again");
                if backoff.wait().await == Retry::Enough {
                    return Err(explain(format!("the instance {id} cannot be started"), &error));
                }
            }
            Err(error) => return Err(explain(format!("the instance {id} cannot be started"), &error)),
        }
    }
    wait_running(context, id).await
}

/// Waits until the instance runs. A launch can be accepted and die all the same; then EC2 says why.
async fn wait_running(context: &Context, id: &str) -> Result<()> {
    let mut backoff = Backoff::polling(Duration::from_secs(300), Duration::from_secs(2));
    context.waits("instance", &format!("{id} is launched, waiting until it runs"));
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
                        Some(InstanceStateName::Running) => return Ok(()),
                        Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated) => {
                            return Err(died(id, &instance));
                        }
                        _ => {}
                    }
                }
            }
            // Just launched: EC2 may not know it yet.
            Err(error) if error.is(&["InvalidInstanceID.NotFound"]) => {}
            Err(error) => return Err(explain(format!("cannot look at the instance {id}"), &error)),
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("the instance {id} does not get to run"))
                .because("it has been pending for five minutes")
                .next("look at it in the EC2 console; then run the same command again"));
        }
    }
}

fn died(id: &str, instance: &Instance) -> Failure {
    let reason = instance.state_reason.as_ref();
    let code = reason.and_then(|reason| reason.code()).unwrap_or("no reason");
    let words = reason.and_then(|reason| reason.message()).unwrap_or_default();
    let next = match code {
        "Client.InvalidKMSKey.InvalidState" | "Client.InternalError" => {
            "the account's default key for disk encryption cannot be used: see EC2 console, Settings, EBS encryption; then run the same command again"
        }
        "Client.VolumeLimitExceeded" => {
            "the account's limit for disks is reached: delete some or ask for more in the Service Quotas console"
        }
        "Server.InsufficientInstanceCapacity" => {
            "AWS has no such instance free now: try again in some minutes, or choose another instance.type"
        }
        _ => "run the same command again",
    };
    Failure::failed(format!("EC2 took the launch of {id} and then ended it"))
        .because(format!("{code}: {words}"))
        .next(next)
}

async fn terminate(context: &Context, ids: Vec<String>) -> Result<String> {
    let request = || context.aws.ec2.terminate_instances().set_instance_ids(Some(ids.clone())).send();
    match call("ec2:TerminateInstances", request).await {
        Ok(_) => {}
        Err(error) if error.absent() => {}
        Err(error) => return Err(explain("the instance cannot be terminated", &error)),
    }
    let mut backoff = Backoff::polling(Duration::from_secs(600), Duration::from_secs(2));
    context.waits("instance", "waiting until it is gone");
    loop {
        let left = observe(&context.aws, &context.name).await?;
        if !left.iter().any(|state| ids.contains(&state.id)) {
            return Ok("gone".into());
        }
        context.check_interrupt()?;
        if backoff.wait().await == Retry::Enough {
            return Err(Failure::failed(format!("{} is still shutting down after ten minutes", ids.join(", ")))
                .next("run the same command again in some minutes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(spec: &str) -> Tags {
        Tags::from([
            (names::TAG_NAME.into(), "hello".into()),
            (names::TAG_SPEC.into(), spec.into()),
            (names::TAG_RELEASE.into(), "r1".into()),
        ])
    }

    fn state(id: &str, phase: Phase, launched: i64) -> State {
        State {
            id: id.into(),
            phase,
            kind: "t3.micro".into(),
            ip: None,
            profile: None,
            metadata: true,
            tags: wanted("s1"),
            launched,
        }
    }

    #[test]
    fn none_or_a_dying_one_means_launch() {
        assert!(matches!(diff(&wanted("s1"), &[]).unwrap().change, Change::Launch { fresh: false, .. }));
        assert!(matches!(
            diff(&wanted("s1"), &[state("i-1", Phase::Dying, 1)]).unwrap().change,
            Change::Launch { fresh: true, .. }
        ));
    }

    #[test]
    fn another_release_is_the_doorbells_business() {
        let mut other = state("i-1", Phase::Running, 1);
        other.tags.insert(names::TAG_RELEASE.into(), "r0".into());
        assert_eq!(diff(&wanted("s1"), &[other]), None);
    }

    #[test]
    fn a_new_spec_means_another_instance_and_the_end_of_this_one() {
        let have = [state("i-1", Phase::Running, 1)];
        let planned = diff(&wanted("s2"), &have).unwrap();
        assert_eq!(planned.action, Action::Replace);
        let wanted = wanted("s2");
        let Some(Change::Terminate { ids }) =
            leftovers(wanted.get(names::TAG_SPEC), &have).map(|planned| planned.change)
        else {
            panic!()
        };
        assert_eq!(ids, ["i-1"]);
        assert!(leftovers(Some(&"s1".to_owned()), &have).is_none());
    }

    #[test]
    fn a_stopped_one_is_started() {
        let planned = diff(&wanted("s1"), &[state("i-1", Phase::Stopped, 1)]).unwrap();
        assert_eq!(planned.reasons, ["it is stopped"]);
        assert!(matches!(planned.change, Change::Update { start: true, .. }));
    }

    #[test]
    fn the_spec_tells_what_matters_apart() {
        let instance = config::Instance { kind: "t3.micro".into(), image: config::Image::Debian13, disk_gib: 8 };
        let base = spec(&instance, "debian-13", None);
        assert_eq!(base, spec(&instance, "debian-13", None));
        assert_ne!(base, spec(&instance, "al2023", None));
        assert_ne!(base, spec(&config::Instance { disk_gib: 9, ..instance.clone() }, "debian-13", None));
        assert_ne!(base, spec(&config::Instance { kind: "t3.small".into(), ..instance.clone() }, "debian-13", None));
        assert_ne!(base, spec(&instance, "debian-13", Some("subnet-1")));
    }
}
