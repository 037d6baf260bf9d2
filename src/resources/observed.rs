//! What stands of a deployment, as far as it was looked at; and what a planner sees of it beside what is asked for.

use std::collections::BTreeSet;

use super::kinds::{Change, Id, Kind, Wanted};
use super::reports::{Phase, ProxyPhase};
use super::step::{Planned, Step};
use super::{
    Lookup, NameConflict, bucket, dns_record, elastic_ip, history, instance, key_pair, release, reports, role, route,
    security_group, token,
};
use crate::base::error::Result;

/// After so many seconds a new instance that is not healthy does not become so any more. An `up` waits for ten minutes.
pub const HOPELESS: i64 = 20 * 60;

/// Everything of one deployment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// When that was, in seconds since 1970.
    pub at: i64,
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// Who looks: the user's or the role session's name.
    pub by: String,
    /// The newest image's id.
    pub image: Lookup<String>,
    /// The instance type.
    pub kind: Lookup<instance::Kind>,
    /// The way to the internet from where an instance would go.
    pub way: route::Way,
    /// The ids of instances whose CPU credits are unlimited, others' among them; where EC2 tells.
    pub unlimited: Option<BTreeSet<String>>,
    /// The security group.
    pub security_group: Lookup<security_group::State>,
    /// The key pair.
    pub key_pair: Lookup<key_pair::State>,
    /// Role, policy and profile.
    pub role: Lookup<role::State>,
    /// The token's parameter.
    pub token: Lookup<token::State>,
    /// The bucket and the releases in it, if that was looked at: [`Observed::look_into_store`].
    pub store: Option<Store>,
    /// Whose things are in the bucket: [`Observed::look_into_bucket`].
    pub contents: Lookup<bucket::Contents>,
    /// Instances, the one that counts first.
    pub instances: Vec<instance::State>,
    /// Elastic IPs, the one that counts first.
    pub addresses: Vec<elastic_ip::State>,
    /// The names that lead here or are to, in each zone that they could be in, where that was looked at: the one that was
    /// asked for, and those of [`Observed::look_for_records`].
    pub records: Vec<dns_record::State>,
    /// What the agents report, by instance.
    pub reports: Vec<(String, reports::Report)>,
}

/// Where releases are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The bucket.
    pub bucket: Option<bucket::State>,
    /// The releases of this deployment, the newest first.
    pub releases: Vec<release::Stored>,
    /// Whether Caddy is in it.
    pub proxy: bool,
}

impl Observed {
    /// What bears our name but not our tag.
    pub fn foreign(&self) -> impl Iterator<Item = &NameConflict> {
        let seen = [self.security_group.foreign(), self.key_pair.foreign(), self.role.foreign(), self.token.foreign()];
        seen.into_iter().flatten()
    }

    /// Whether nothing at all stands, the shared bucket aside.
    pub fn nothing(&self) -> bool {
        self.security_group.present().is_none()
            && self.key_pair.present().is_none()
            && self.role.present().is_none()
            && self.token.present().is_none()
            && self.instances.is_empty()
            && self.addresses.is_empty()
            && self.reports.is_empty()
    }

    /// The highest version of the token that an instance that lives has been told, or says to have.
    pub fn known_token(&self) -> i64 {
        let told = |state: &instance::State| state.orders().token;
        let has = |state: &instance::State| self.report_of(&state.id).and_then(|report| report.token);
        instance::alive(&self.instances).flat_map(|state| [told(state), has(state)]).flatten().max().unwrap_or_default()
    }

    /// The instance that answers requests, with what it reports.
    pub fn serving(&self) -> Option<(&instance::State, Option<&reports::Report>)> {
        let serving = instance::serving(&self.instances, &self.addresses)?;
        Some((serving, self.report_of(&serving.id)))
    }

    /// What the instance reports.
    pub fn report_of(&self, instance: &str) -> Option<&reports::Report> {
        self.reports.iter().find(|(id, _)| id == instance).map(|(_, report)| report)
    }

    /// Whether what an instance runs failed, or it has not become healthy for so long that it never will.
    pub fn is_hopeless(&self, state: &instance::State) -> bool {
        match self.report_of(&state.id) {
            Some(report) if report.healthy => false,
            Some(report) if report.phase == Phase::Failed => true,
            _ => self.at - state.launched > HOPELESS,
        }
    }

    /// Whether the agent tried just what is wanted now, and gave up; or waits long before it asks for a certificate again.
    pub fn gave_up(&self, release: &str, current: Option<&instance::State>) -> bool {
        let report = current.and_then(|instance| self.report_of(&instance.id));
        report.filter(|report| report.orders.release.as_deref() == Some(release)).is_some_and(|report| {
            let proxy = report.proxy.as_ref().filter(|proxy| proxy.phase == ProxyPhase::Certificate);
            report.phase == Phase::Failed || proxy.is_some_and(|proxy| proxy.error.is_some())
        })
    }
}

/// What a planner sees: what is asked for, what stands, and which of several counts.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// What is asked for; nothing where everything goes.
    pub wanted: &'a [Wanted],
    /// What stands.
    pub have: &'a Observed,
    /// The instance that counts: it stays, or is replaced.
    pub found: Option<&'a instance::State>,
    /// The same, if it stays.
    pub current: Option<&'a instance::State>,
    /// The Elastic IP that stays.
    pub address: Option<&'a elastic_ip::State>,
}

impl<'a> Sight<'a> {
    /// Chooses which of several counts.
    pub fn new(wanted: &'a [Wanted], have: &'a Observed) -> Self {
        let mut sight = Self { wanted, have, found: None, current: None, address: None };
        if sight.wants(Kind::ElasticIp) {
            sight.address = elastic_ip::kept(have);
        }
        if let Some(machine) = sight.machine() {
            sight.found = machine.choose(have);
            sight.current = sight.found.filter(|found| machine.keeps(found, have));
        }
        sight
    }

    /// Whether any of this kind is asked for.
    pub fn wants(&self, kind: Kind) -> bool {
        self.wanted.iter().any(|wanted| wanted.kind() == kind)
    }

    /// The instance that is asked for.
    pub fn machine(&self) -> Option<&'a instance::Wanted> {
        self.wanted.iter().find_map(|wanted| match wanted {
            Wanted::Instance(instance) => Some(instance),
            _ => None,
        })
    }

    /// The release that an instance is to run from then on goes back to this one.
    pub fn before(&self, release: &str) -> Option<String> {
        history::before(self.have, release)
    }

    /// The instances that live and do not stay.
    pub fn leftovers(&self) -> impl Iterator<Item = &'a instance::State> {
        let keep = self.current.map(|current| &current.id);
        instance::alive(&self.have.instances).filter(move |state| Some(&state.id) != keep)
    }

    /// The step that removes the only one of a kind, where none is asked for.
    ///
    /// # Errors
    /// That it was not looked at.
    pub(super) fn removal<C: Into<Change>>(
        &self,
        kind: Kind,
        needs: Vec<Id>,
        removal: impl FnOnce() -> Result<Option<Planned<C>>>,
    ) -> Result<Vec<Step>> {
        let planned = if self.wants(kind) { None } else { removal()? };
        Ok(planned.map(|planned| planned.step(Id::of(kind), needs)).into_iter().collect())
    }

    /// The instances that stand, as the steps know them that remove them.
    pub(super) fn instances(&self) -> Vec<Id> {
        self.have.instances.iter().map(|instance| Id::named(Kind::Instance, &instance.id)).collect()
    }
}
