//! (What is wanted, what stands) → the steps between them. Pure: no call, no clock, no choice left to the executor.

use std::collections::BTreeSet;

use serde_json::Value;

use super::observe::Observed;
use crate::resources::{
    Action, Planned, Tags, address, attachment, bucket, doorbell, instance, key_pair, release, reports, role,
    security_group, token,
};
use crate::ui::Topic;
use crate::{config::Deployment, names};

/// The kinds of resources, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Security group
    SecurityGroup,
    /// Key pair
    KeyPair,
    /// Role, policy, instance profile
    Role,
    /// SSM parameter
    Token,
    /// Bucket
    Bucket,
    /// Object in the bucket
    Release,
    /// Instance
    Instance,
    /// Instance ↔ instance profile
    Attachment,
    /// Elastic IP ↔ instance
    Address,
    /// The tags that the agent watches
    Doorbell,
    /// Instances that another one replaces
    Leftovers,
    /// The agents' reports
    Reports,
}

impl Kind {
    /// The name that a person sees.
    pub fn title(self) -> Topic {
        match self {
            Kind::SecurityGroup => "security group",
            Kind::KeyPair => "key pair",
            Kind::Role => "role",
            Kind::Token => "token",
            Kind::Bucket => "bucket",
            Kind::Release => "release",
            Kind::Instance => "instance",
            Kind::Attachment => "profile",
            Kind::Address => "address",
            Kind::Doorbell => "agent",
            Kind::Leftovers => "old instance",
            Kind::Reports => "reports",
        }
    }

    /// What must be done before, on the way up.
    fn needs_up(self) -> &'static [Kind] {
        match self {
            Kind::SecurityGroup | Kind::KeyPair | Kind::Role | Kind::Token | Kind::Bucket => &[],
            Kind::Release => &[Kind::Bucket],
            Kind::Instance => &[Kind::SecurityGroup, Kind::KeyPair],
            Kind::Attachment => &[Kind::Role, Kind::Instance],
            Kind::Address => &[Kind::Instance],
            Kind::Doorbell => &[Kind::Token, Kind::Release, Kind::Instance],
            Kind::Leftovers => &[Kind::Attachment, Kind::Address, Kind::Doorbell],
            Kind::Reports => &[],
        }
    }

    /// What must be gone before, on the way down. Reports and logs are the agent's to write for as long as it lives.
    fn needs_down(self) -> &'static [Kind] {
        match self {
            Kind::SecurityGroup | Kind::Bucket | Kind::Reports => &[Kind::Instance],
            _ => &[],
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its module's Change")]
pub enum Change {
    SecurityGroup(security_group::Change),
    KeyPair(key_pair::Change),
    Role(role::Change),
    Token(token::Change),
    Bucket(bucket::Change),
    Release(release::Change),
    Instance(instance::Change),
    Attachment(attachment::Change),
    Address(address::Change),
    Doorbell(doorbell::Change),
    Reports(reports::Change),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub kind: Kind,
    /// In one word.
    pub action: Action,
    /// Why.
    pub reasons: Vec<String>,
    /// Which steps of this plan come first.
    pub needs: Vec<Kind>,
    /// What it does.
    pub change: Change,
}

/// All steps, none before what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one of each kind.
    pub steps: Vec<Step>,
}

/// What is wanted: the deployment, made concrete.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// `deploy.yaml`
    pub deployment: &'a Deployment,
    /// The region's code.
    pub region: &'a str,
    /// The name of the image.
    pub image: &'a str,
    /// The release that is to run.
    pub release: &'a str,
}

impl Wanted<'_> {
    /// What every resource carries.
    pub fn tags(&self) -> Tags {
        let mut tags: Tags = self.deployment.tags.clone();
        tags.insert(names::TAG_NAME.into(), self.deployment.name.clone());
        tags
    }

    fn named_tags(&self) -> Tags {
        let mut tags = self.tags();
        tags.insert("Name".into(), names::common(&self.deployment.name));
        tags
    }

    fn instance_tags(&self) -> Tags {
        let spec = instance::spec(&self.deployment.instance, self.image, self.deployment.network.subnet.as_deref());
        let mut tags = self.named_tags();
        tags.insert(names::TAG_SPEC.into(), spec);
        tags.insert(names::TAG_RELEASE.into(), self.release.to_owned());
        tags
    }

    fn policy(&self, have: &Observed) -> Value {
        let (bucket, _) = names::bucket(&have.account, self.region);
        role::policy(&have.partition, &have.account, self.region, &self.deployment.name, &bucket)
    }
}

/// From what stands to what is wanted.
pub fn up(want: &Wanted, have: &Observed) -> Plan {
    let deployment = want.deployment;
    let (tags, named) = (want.tags(), want.named_tags());
    let rules: BTreeSet<_> = deployment
        .network
        .allow
        .iter()
        .map(|block| security_group::Rule::tcp(deployment.network.port, *block))
        .collect();
    let instance_tags = want.instance_tags();
    let (bucket, _) = names::bucket(&have.account, want.region);
    let machine = instance::diff(&instance_tags, &have.instances);
    // A new instance has nothing attached yet, whatever the old one has.
    let launched = machine.as_ref().is_some_and(|planned| planned.action != Action::Update);
    let current = instance::alive(&have.instances).filter(|_| !launched);
    let profile = names::role(&deployment.name, want.region);
    let address = if deployment.network.static_ip {
        address::diff(&named, current.map(|instance| instance.id.as_str()), &have.addresses)
    } else {
        address::removal(&have.addresses)
    };

    let mut plan = Plan::default();
    plan.add(
        Kind::SecurityGroup,
        security_group::diff(&rules, &tags, have.security_group.as_ref()),
        Change::SecurityGroup,
    );
    plan.add(Kind::KeyPair, key_pair::diff(&tags, have.key_pair.as_ref()), Change::KeyPair);
    plan.add(Kind::Role, role::diff(&want.policy(have), &tags, have.role.as_ref()), Change::Role);
    plan.add(Kind::Token, token::diff(&tags, have.token.as_ref()), Change::Token);
    plan.add(Kind::Bucket, bucket::diff(&have.partition, &bucket, have.bucket.as_ref()), Change::Bucket);
    plan.add(Kind::Release, release::diff(want.release, have.release), Change::Release);
    plan.add(Kind::Instance, machine, Change::Instance);
    plan.add(Kind::Attachment, attachment::diff(&profile, have.role.as_ref(), current), Change::Attachment);
    plan.add(Kind::Address, address, Change::Address);
    plan.add(
        Kind::Doorbell,
        doorbell::diff(want.release, have.token.as_ref(), current, gave_up(want, have, current)),
        Change::Doorbell,
    );
    plan.add(
        Kind::Leftovers,
        instance::leftovers(instance_tags.get(names::TAG_SPEC), &have.instances),
        Change::Instance,
    );
    plan.connect(Kind::needs_up);
    plan
}

/// Whether the agent tried just what is wanted now, and gave up.
fn gave_up(want: &Wanted, have: &Observed, current: Option<&instance::State>) -> bool {
    let report = current.and_then(|instance| have.report_of(&instance.id));
    report.is_some_and(|report| report.phase == "failed" && report.wanted.release.as_deref() == Some(want.release))
}

/// From what stands to nothing.
pub fn down(have: &Observed) -> Plan {
    let mut plan = Plan::default();
    let instances = !have.instances.is_empty();
    plan.add(Kind::SecurityGroup, security_group::removal(have.security_group.as_ref()), Change::SecurityGroup);
    plan.add(Kind::KeyPair, key_pair::removal(have.key_pair.as_ref()), Change::KeyPair);
    plan.add(Kind::Role, role::removal(have.role.as_ref()), Change::Role);
    plan.add(Kind::Token, token::removal(have.token.as_ref()), Change::Token);
    plan.add(Kind::Bucket, bucket::removal(have.bucket.as_ref(), have.contents, instances), Change::Bucket);
    plan.add(Kind::Instance, instance::removal(&have.instances), Change::Instance);
    plan.add(Kind::Address, address::removal(&have.addresses), Change::Address);
    plan.add(Kind::Reports, reports::removal(!have.reports.is_empty(), instances), Change::Reports);
    plan.connect(Kind::needs_down);
    plan
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn add<C>(&mut self, kind: Kind, planned: Option<Planned<C>>, change: impl Fn(C) -> Change) {
        if let Some(planned) = planned {
            let Planned { action, reasons, change: what } = planned;
            self.steps.push(Step { kind, action, reasons, needs: Vec::new(), change: change(what) });
        }
    }

    /// Only what is in the plan can be waited for: the rest stands already.
    fn connect(&mut self, needs: impl Fn(Kind) -> &'static [Kind]) {
        let kinds: Vec<Kind> = self.steps.iter().map(|step| step.kind).collect();
        for step in &mut self.steps {
            step.needs = needs(step.kind).iter().copied().filter(|need| kinds.contains(need)).collect();
        }
    }
}

#[cfg(test)]
mod tests;
