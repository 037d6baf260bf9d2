//! An encrypted SSM parameter: the calls that write, tag and delete one.

use aws_sdk_ssm::types::{ParameterTier, ParameterType, ResourceTypeForTagging, Tag};

use super::Tags;
use crate::aws::{ApiError, Aws, call};

/// With tags: creates the parameter. Without: overwrites it. Returns the new version.
pub(super) async fn put(aws: &Aws, parameter: &str, value: &str, tags: Option<&Tags>) -> Result<i64, ApiError> {
    let request = || {
        let put = aws
            .ssm
            .put_parameter()
            .name(parameter)
            .r#type(ParameterType::SecureString)
            .tier(ParameterTier::Standard)
            .value(value);
        match tags {
            Some(tags) => put.set_tags(Some(to_ssm(tags))).send(),
            None => put.overwrite(true).send(),
        }
    };
    call("ssm:PutParameter", request).await.map(|answer| answer.version)
}

/// Sets tags.
pub(super) async fn tag(aws: &Aws, parameter: &str, tags: &Tags) -> Result<(), ApiError> {
    let request = || {
        let add = aws.ssm.add_tags_to_resource().resource_type(ResourceTypeForTagging::Parameter);
        add.resource_id(parameter).set_tags(Some(to_ssm(tags))).send()
    };
    call("ssm:AddTagsToResource", request).await.map(|_| ())
}

/// Deletes it, if it exists.
pub(super) async fn delete(aws: &Aws, parameter: &str) -> Result<(), ApiError> {
    match call("ssm:DeleteParameter", || aws.ssm.delete_parameter().name(parameter).send()).await {
        Err(error) if !error.absent() => Err(error),
        _ => Ok(()),
    }
}

fn to_ssm(tags: &Tags) -> Vec<Tag> {
    // Only a tag without key or value cannot be built; ours have both.
    tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok()).collect()
}
