//! One file per kind of resource: its existing state (`State`, `observe`), what is wanted (`Wanted`, a [`step::Resource`] with id,
//! needs and pure `diff`), and the change (`Change`, `apply`, which only the executor calls). [`kinds`] has the list of them.
//!
//! The SDK's types are used here and in `aws` only.

pub mod app_role;
pub mod attachment;
pub mod bucket;
pub mod context;
pub mod data_gate;
pub mod dns_record;
pub mod document;
pub mod eip_association;
pub mod elastic_ip;
pub mod health_gate;
pub mod history;
mod iam;
pub mod ingress;
pub mod instance;
pub mod instance_profile;
pub mod inventory;
pub mod key_pair;
pub mod kinds;
pub mod logs;
mod lookup;
pub mod observed;
pub mod orders;
pub mod outputs;
mod parameter;
pub mod policy;
pub mod preflight;
pub mod proxy;
pub mod references;
pub mod release;
pub mod reports;
pub mod role;
pub mod route;
pub mod secrets;
pub mod security_group;
pub mod ssh;
pub mod step;
pub mod token;
pub mod user_data;
pub mod volume;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, Aws, call};
use crate::base::names;
pub use kinds::{Change, Id, Kind, Wanted};
pub use lookup::{Lookup, NameConflict};
pub use observed::{Observed, Sight};
pub use step::{Action, Planned, Step};

/// Tags of a resource, by key.
pub type Tags = BTreeMap<String, String>;

/// Whether the tags say that a resource belongs to this deployment.
fn ours(tags: &Tags, name: &str) -> bool {
    tags.get(names::TAG_NAME).is_some_and(|owner| owner == name)
}

/// The tags that are wanted but are missing or different.
fn missing(want: &Tags, have: &Tags) -> Tags {
    want.iter()
        .filter(|(key, value)| have.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn untagged(tags: &Tags) -> Vec<String> {
    tags.keys().map(|key| format!("tag {key} is missing or different")).collect()
}

/// Sets tags on EC2 resources. A new resource may still be unknown for a moment.
///
/// # Errors
/// A call to EC2 fails for longer than half a minute.
pub async fn set_tags(aws: &Aws, ids: &[&str], tags: &Tags) -> Result<(), ApiError> {
    if tags.is_empty() || ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
    let request = || aws.ec2.create_tags().set_resources(Some(ids.clone())).set_tags(Some(to_ec2(tags))).send();
    let tag = || call("ec2:CreateTags", request);
    patiently(Backoff::new(Duration::from_secs(30)), ApiError::absent, tag).await.map(|_| ())
}

fn from_ec2(tags: Option<Vec<Tag>>) -> Tags {
    let tags = tags.unwrap_or_default().into_iter();
    tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

fn to_ec2(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// The tag specification of a creation.
pub(crate) fn tagged(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(to_ec2(tags))).build()
}

/// A filter by value.
pub(crate) fn filter(name: &str, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn by_name_tag(name: &str) -> Filter {
    filter(&format!("tag:{}", names::TAG_NAME), name)
}

/// A filter for resources of any deployment.
fn any_name_tag() -> Filter {
    filter("tag-key", names::TAG_NAME)
}
