//! The observed state of a deployment, and the planner's view of it together with the wanted state.

use std::collections::BTreeSet;

use super::kinds::{Change, Id, Kind, OfKind, Wanted};
use super::reports::{Phase, ProxyPhase};
use super::step::{Planned, Step};
use super::{
    Lookup, NameConflict, app_role, bucket, dns_record, elastic_ip, instance, key_pair, references, release, reports,
    role, route, secrets, security_group, token, volume,
};
use crate::base::error::Result;

/// After this many seconds a new instance that is not healthy is considered failed. An `up` waits ten minutes.
pub const HOPELESS: i64 = 20 * 60;

/// The observed state of one deployment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The time of the read, in seconds since 1970.
    pub at: i64,
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The caller: the name of the user or role session.
    pub by: String,
    /// The newest image's id.
    pub image: Lookup<String>,
    /// The instance type.
    pub kind: Lookup<instance::Kind>,
    /// The zone of the subnet in deploy.yaml, if it names one and EC2 tells.
    pub subnet_zone: Option<String>,
    /// The route to the internet from the subnet of a new instance.
    pub way: route::Way,
    /// The ids of all instances with unlimited CPU credits in the region, of any owner, if EC2 returns them.
    pub unlimited: Lookup<BTreeSet<String>>,
    /// The security group.
    pub security_group: Lookup<security_group::State>,
    /// The key pair.
    pub key_pair: Lookup<key_pair::State>,
    /// Role, policy and profile.
    pub role: Lookup<role::State>,
    /// The app's role.
    pub app_role: Lookup<app_role::State>,
    /// The token's parameter.
    pub token: Lookup<token::State>,
    /// The app's secrets.
    pub secrets: Lookup<secrets::Stored>,
    /// The secrets that are kept elsewhere, to which `deploy.yaml` refers.
    pub references: Lookup<references::Found>,
    /// The bucket and its releases, if they were read: [`Observed::look_into_store`].
    pub store: Lookup<Store>,
    /// The deployments with objects in the bucket: [`Observed::look_into_bucket`].
    pub contents: Lookup<bucket::Contents>,
    /// Instances, the current one first.
    pub instances: Vec<instance::State>,
    /// Elastic IPs, the one that stays first.
    pub addresses: Vec<elastic_ip::State>,
    /// The records of the deployment's domains in each zone that could contain them, as far as they were read: the
    /// configured domain, and those of [`Observed::look_for_records`].
    pub records: Vec<dns_record::State>,
    /// The data volumes, of which the app uses one: [`volume::kept`].
    pub volumes: Lookup<Vec<volume::State>>,
    /// The agents' reports, by instance.
    pub reports: Vec<(String, reports::Report)>,
}

/// The store of releases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The bucket.
    pub bucket: Option<bucket::State>,
    /// This deployment's releases, the newest first.
    pub releases: Vec<release::Stored>,
    /// Whether Caddy is in it.
    pub proxy: bool,
}

impl Observed {
    /// The resources with our name but without our tag.
    pub fn conflicts(&self) -> impl Iterator<Item = &NameConflict> {
        let seen = [
            self.security_group.conflict(),
            self.key_pair.conflict(),
            self.role.conflict(),
            self.app_role.conflict(),
            self.token.conflict(),
        ];
        seen.into_iter().flatten()
    }

    /// Whether no resource exists, except for the shared bucket.
    pub fn nothing(&self) -> bool {
        self.security_group.present().is_none()
            && self.key_pair.present().is_none()
            && self.role.present().is_none()
            && self.app_role.present().is_none()
            && self.token.present().is_none()
            && self.secrets.present().is_none()
            && self.instances.is_empty()
            && self.addresses.is_empty()
            && self.reports.is_empty()
    }

    /// The highest version of the token in the orders or report of a live instance.
    pub fn known_token(&self) -> i64 {
        let told = |state: &instance::State| state.orders().token;
        let has = |state: &instance::State| self.report_of(&state.id).and_then(|report| report.token);
        instance::alive(&self.instances).flat_map(|state| [told(state), has(state)]).flatten().max().unwrap_or_default()
    }

    /// The serving instance, with its report.
    pub fn serving(&self) -> Option<(&instance::State, Option<&reports::Report>)> {
        let serving = instance::serving(&self.instances, &self.addresses)?;
        Some((serving, self.report_of(&serving.id)))
    }

    /// The report of the instance.
    pub fn report_of(&self, instance: &str) -> Option<&reports::Report> {
        self.reports.iter().find(|(id, _)| id == instance).map(|(_, report)| report)
    }

    /// Whether the instance's app failed, or has not become healthy for so long that it never will.
    pub fn is_hopeless(&self, state: &instance::State) -> bool {
        match self.report_of(&state.id) {
            Some(report) if report.healthy => false,
            Some(report) if report.phase == Phase::Failed => true,
            _ => self.at - state.launched > HOPELESS,
        }
    }

    /// Whether the agent tried exactly the current orders and failed, or waits long before it requests a certificate
    /// again.
    pub fn gave_up(&self, release: &str, current: Option<&instance::State>) -> bool {
        let report = current.and_then(|instance| self.report_of(&instance.id));
        report.filter(|report| report.orders.release.as_deref() == Some(release)).is_some_and(|report| {
            let proxy = report.proxy.as_ref().filter(|proxy| proxy.phase == ProxyPhase::Certificate);
            report.phase == Phase::Failed || proxy.is_some_and(|proxy| proxy.error.is_some())
        })
    }
}

/// The planner's view: the wanted state, the observed state, and the current instance and address.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// The wanted resources; empty for `down`.
    pub wanted: &'a [Wanted],
    /// The observed state.
    pub have: &'a Observed,
    /// The current instance: it is kept or replaced.
    pub found: Option<&'a instance::State>,
    /// The current instance, if it is kept.
    pub current: Option<&'a instance::State>,
    /// The Elastic IP that stays.
    pub address: Option<&'a elastic_ip::State>,
    /// Whether the data volumes are deleted: only the user can want that.
    pub deletes_data: bool,
}

impl<'a> Sight<'a> {
    /// Chooses the current instance and address.
    pub fn new(wanted: &'a [Wanted], have: &'a Observed) -> Self {
        let mut sight = Self { wanted, have, found: None, current: None, address: None, deletes_data: false };
        if sight.wants(Kind::ElasticIp) {
            sight.address = elastic_ip::kept(have);
        }
        if let Some(machine) = sight.the::<instance::Wanted>() {
            sight.found = machine.choose(have);
            sight.current = sight.found.filter(|found| machine.keeps(found, have));
        }
        sight
    }

    /// Whether a resource of this kind is wanted.
    pub fn wants(&self, kind: Kind) -> bool {
        self.wanted.iter().any(|wanted| wanted.kind() == kind)
    }

    /// The wanted resource of a kind that has at most one.
    pub(super) fn the<W: OfKind>(&self) -> Option<&'a W> {
        self.wanted.iter().find_map(W::of)
    }

    /// The live instances that are not kept.
    pub fn leftovers(&self) -> impl Iterator<Item = &'a instance::State> {
        let keep = self.current.map(|current| &current.id);
        instance::alive(&self.have.instances).filter(move |state| Some(&state.id) != keep)
    }

    /// The step that deletes the only resource of a kind, if it is not wanted.
    ///
    /// # Errors
    /// The kind was not read.
    pub(super) fn removal<C: Into<Change>>(
        &self,
        kind: Kind,
        needs: Vec<Id>,
        removal: impl FnOnce() -> Result<Option<Planned<C>>>,
    ) -> Result<Vec<Step>> {
        let planned = if self.wants(kind) { None } else { removal()? };
        Ok(planned.map(|planned| planned.step(Id::of(kind), needs)).into_iter().collect())
    }

    /// The ids of the steps that terminate the existing instances.
    pub(super) fn instances(&self) -> Vec<Id> {
        self.have.instances.iter().map(|instance| Id::named(Kind::Instance, &instance.id)).collect()
    }
}
