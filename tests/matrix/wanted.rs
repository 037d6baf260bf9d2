//! The expected state of deployments, and how an account differs from it.

use std::collections::BTreeMap;

use devopsctl::resources::secrets;
use serde_json::Value;

use crate::inventory::{Inventory, Parameter, Tags, Volume};

/// The expected state of one deployment.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    /// The token, unless it was generated.
    pub token: Option<&'a str>,
    /// The secrets with their values; a generated value is empty here.
    pub secrets: &'a [(&'a str, &'a str)],
    /// Whether the app has a role.
    pub app_role: bool,
    /// The size of the data volume.
    pub gib: u32,
    /// The number of releases in the bucket.
    pub releases: usize,
}

impl Wanted<'_> {
    /// A deployment with a generated token, one release and no secrets.
    pub fn new<'a>(name: &'a str, kind: &'a str) -> Wanted<'a> {
        Wanted { name, kind, token: None, secrets: &[], app_role: false, gib: 10, releases: 1 }
    }
}

impl Inventory {
    /// Asserts exactly one of each resource per deployment, all connected, and nothing else.
    pub fn holds(&self, all: &[Wanted<'_>]) -> Result<(), String> {
        let mut wrong = Wrong(Vec::new());
        for (what, count) in [
            ("instances", self.instances.len()),
            ("addresses", self.addresses.len()),
            ("data volumes", self.volumes.len()),
            ("security groups", self.groups.len()),
            ("key pairs", self.key_pairs.len()),
            ("roles", self.roles.len().saturating_sub(all.iter().filter(|wanted| wanted.app_role).count())),
            ("instance profiles", self.profiles.len()),
            ("tokens", self.parameters.iter().filter(|parameter| parameter.name.ends_with("/token")).count()),
            ("records and marks, by two,", self.records.len().div_ceil(2)),
        ] {
            wrong.unless(count == all.len(), || format!("{count} {what} for {} deployments", all.len()));
        }
        let secrets: usize = all.iter().map(|wanted| wanted.secrets.len()).sum();
        let parameters = self.parameters.len();
        wrong.unless(parameters == all.len() + secrets, || format!("{parameters} parameters with {secrets} secrets"));
        wrong.unless(self.buckets.len() == usize::from(!all.is_empty()), || format!("buckets: {:?}", self.buckets));
        for wanted in all {
            self.holds_one(wanted, &mut wrong);
        }
        wrong.told()
    }

    /// Asserts that no resource is left.
    pub fn is_empty(&self) -> Result<(), String> {
        if *self == Self::default() { Ok(()) } else { Err(format!("left over: {self:?}")) }
    }

    fn holds_one(&self, wanted: &Wanted<'_>, wrong: &mut Wrong) {
        let common = format!("devopsctl-{}", wanted.name);
        let role = format!("{common}-{}", crate::account::REGION);
        let ours = |tags: &Tags| tags.get("devopsctl:name").map(String::as_str) == Some(wanted.name);
        let rules = ["tcp 443-443 from 0.0.0.0/0", "tcp 80-80 from 0.0.0.0/0", "udp 443-443 from 0.0.0.0/0"];
        let group = self.groups.iter().find(|group| group.name == common && ours(&group.tags));
        let mut ingress = group.map(|group| group.ingress.clone()).unwrap_or_default();
        ingress.sort();
        wrong.unless(ingress == rules, || format!("security group: {:?}", self.groups));
        let key = self.key_pairs.iter().any(|(name, tags)| *name == common && ours(tags));
        wrong.unless(key, || format!("key pair: {:?}", self.key_pairs));
        wrong.unless(self.roles.contains(&(role.clone(), vec![role.clone()])), || format!("role: {:?}", self.roles));
        if wanted.app_role {
            let name = format!("{role}-app");
            let policies = vec![name.clone(), "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess".to_owned()];
            wrong.unless(self.roles.contains(&(name, policies)), || format!("app's role: {:?}", self.roles));
        }
        let profile = (role.clone(), vec![role.clone()]);
        wrong.unless(self.profiles.contains(&profile), || format!("instance profile: {:?}", self.profiles));
        let version = self.token(wanted, wrong);
        let fingerprint = self.secrets(wanted, wrong);
        let releases = self.releases(wanted, wrong);
        let Some(instance) = self.instances.iter().find(|instance| ours(&instance.tags)) else {
            return wrong.0.push("no instance".into());
        };
        let tag = |key: &str| instance.tags.get(key).cloned().unwrap_or_default();
        wrong.unless(instance.state == "running" && instance.kind == wanted.kind, || format!("instance: {instance:?}"));
        wrong.unless(tag("devopsctl:token") == version, || {
            format!("tag devopsctl:token is {:?}, the parameter's version {version:?}", tag("devopsctl:token"))
        });
        wrong.unless(releases.contains(&tag("devopsctl:release")), || {
            format!("tag devopsctl:release is {:?}, the bucket has {releases:?}", tag("devopsctl:release"))
        });
        wrong.unless(tag("devopsctl:secrets") == fingerprint, || {
            format!("tag devopsctl:secrets is {:?}, the fingerprint {fingerprint:?}", tag("devopsctl:secrets"))
        });
        let volume = self.volumes.iter().find(|volume| ours(&volume.tags));
        let fits = |volume: &Volume| {
            volume.instances == [instance.id.clone()]
                && volume.gib == i32::try_from(wanted.gib).unwrap()
                && volume.sound
                && tag("devopsctl:data") == volume.id
        };
        wrong.unless(volume.is_some_and(fits), || {
            format!("data volume: {:?}, and the tag is {:?}", self.volumes, tag("devopsctl:data"))
        });
        wrong.unless(!tag("devopsctl:address").is_empty(), || "the instance is not told its address".to_owned());
        wrong.unless(tag("Name") == common && !tag("devopsctl:spec").is_empty(), || {
            format!("tags: {:?}", instance.tags)
        });
        wrong.unless(instance.profiles == [role], || format!("associated: {:?}", instance.profiles));
        let address = self.addresses.iter().find(|address| ours(&address.tags));
        let leads = address.is_some_and(|address| address.instance.as_ref() == Some(&instance.id));
        wrong.unless(leads, || format!("address: {:?}", self.addresses));
        let domain = format!("{}.{}", wanted.name, crate::account::ZONE);
        let ip = address.map(|address| address.ip.clone()).unwrap_or_default();
        let mark = format!("\"devopsctl: {} in {}, for {ip}\"", wanted.name, crate::account::REGION);
        let holds = |name: String, kind: &str, value: String| self.records.contains(&(name, kind.into(), vec![value]));
        let both = holds(domain.clone(), "A", ip) && holds(format!("_devopsctl.{domain}"), "TXT", mark);
        wrong.unless(both, || format!("records: {:?} for {:?}", self.records, self.addresses));
    }

    /// Checks the token. Returns the version of its parameter.
    fn token(&self, wanted: &Wanted<'_>, wrong: &mut Wrong) -> String {
        let name = format!("/devopsctl/{}/token", wanted.name);
        let Some(parameter) = self.parameters.iter().find(|parameter| parameter.name == name) else {
            wrong.0.push("no token".into());
            return String::new();
        };
        let document: Value = serde_json::from_str(&parameter.value).unwrap_or_default();
        let current = document["current"].as_str();
        let right = current.is_some_and(|current| wanted.token.is_none_or(|token| token == current));
        wrong.unless(right, || format!("the token is {current:?}, not {:?}", wanted.token));
        parameter.version.to_string()
    }

    /// Checks the secrets. Returns their fingerprint.
    fn secrets(&self, wanted: &Wanted<'_>, wrong: &mut Wrong) -> String {
        let path = format!("/devopsctl/{}/secrets/", wanted.name);
        let found = self.parameters.iter().filter_map(|one| Some((one.name.strip_prefix(&path)?, one)));
        let found: BTreeMap<&str, &Parameter> = found.collect();
        for (name, value) in wanted.secrets {
            let right =
                found.get(name).is_some_and(|one| one.value == *value || (value.is_empty() && one.value.len() == 43));
            wrong.unless(right, || format!("{name} is not {value:?} but {:?}", found.get(name)));
        }
        let state = |one: &Parameter| secrets::State { version: one.version, modified: one.modified };
        secrets::fingerprint(&found.into_iter().map(|(name, one)| (name.to_owned(), state(one))).collect())
    }

    /// Checks the bucket and the releases in it. Returns the releases.
    fn releases(&self, wanted: &Wanted<'_>, wrong: &mut Wrong) -> Vec<String> {
        let Some(bucket) = self.buckets.first() else { return Vec::new() };
        wrong.unless(bucket.policy && bucket.closed, || format!("the bucket is open: {bucket:?}"));
        let prefix = format!("{}/releases/", wanted.name);
        let ids = bucket.objects.iter().filter_map(|key| key.strip_prefix(&prefix)?.strip_suffix(".tar.gz"));
        let ids: Vec<String> = ids.map(str::to_owned).collect();
        wrong.unless(ids.len() == wanted.releases, || format!("releases: {:?}", bucket.objects));
        let edge = bucket.objects.iter().filter(|key| key.starts_with("_tools/caddy-")).count();
        wrong.unless(edge == 1, || format!("tools: {:?}", bucket.objects));
        ids
    }
}

/// All differences from the expected state.
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    fn told(self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.join("; ")) }
    }
}
