//! The EC2 instance. Its tags contain its orders, which its agent reads.

use std::net::Ipv4Addr;

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName};

use super::kinds::{self, Id};
use super::orders::Orders;
use super::{Tags, any_name_tag, by_name_tag, elastic_ip, from_ec2};
use crate::aws::{Aws, call, explain};
use crate::base::digest;
use crate::base::error::Result;
use crate::config;

mod build;
mod change;
mod credits;
mod kind;
mod launch;
mod running;
mod wanted;

pub use build::{Build, build, newest};
pub use change::{apply, start, terminate_all};
pub(crate) use credits::unlimited;
pub use credits::{Credits, set as set_credits};
pub use kind::Kind;
pub(crate) use kind::{observe as observe_kind, request as request_kind, request_free as request_free_kinds};
pub use launch::{Image, Order, image, not_there};
pub use running::{Running, running};
pub use wanted::Wanted;

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
    /// Its availability zone.
    pub zone: String,
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

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Launch an instance. If only the image differs from that of the old instance, `image` is the new one, because the
    /// spec does not distinguish the two launches. `zone`: the zone of the data volume, if EC2 cannot choose any. `dying`: if EC2
    /// returns one of these, another launch is needed.
    Launch { tags: Tags, image: Option<String>, zone: Option<String>, dying: Vec<String> },
    /// Start it, and set its metadata options, CPU credits and tags, as needed.
    Update { id: String, start: bool, metadata: bool, credits: Option<Credits>, tags: Tags },
    /// Terminate it, and wait until it is terminated.
    Terminate { id: String },
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `i-…`
    pub id: String,
    /// When it was launched or last started, in seconds since 1970.
    pub since: i64,
    /// Its availability zone, once it runs.
    pub zone: Option<String>,
    /// Whether its CPU credits are unlimited.
    pub unlimited: bool,
    /// Whether this run launched it.
    pub launched: bool,
    /// What of SSM is in its orders, if this run launched it and the token exists.
    pub told: Option<Orders>,
}

/// The current instance.
pub const ID: Id = Id::of(kinds::Kind::Instance);

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
        zone: instance.placement.and_then(|placement| placement.availability_zone).unwrap_or_default(),
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

/// The serving instance: the address points to it; otherwise the newest.
pub fn serving<'a>(have: &'a [State], addresses: &[elastic_ip::State]) -> Option<&'a State> {
    let leads = |state: &&State| addresses.iter().any(|address| address.instance.as_deref() == Some(&state.id));
    alive(have).find(leads).or_else(|| alive(have).next())
}
