//! The calls for SSM parameters: they list those below a path, and write, tag and delete an encrypted one.

use aws_sdk_ssm::types::{Parameter, ParameterTier, ParameterType, ResourceTypeForTagging, Tag};

use super::Tags;
use crate::aws::{ApiError, Aws, call};

/// All parameters below a path; with `recursive` also those below its folders. Encrypted ones are returned encrypted.
pub(super) async fn below(aws: &Aws, path: &str, recursive: bool) -> Result<Vec<Parameter>, ApiError> {
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = aws.ssm.get_parameters_by_path().path(path).recursive(recursive).set_next_token(page);
        let answer = call("ssm:GetParametersByPath", || request.clone().send()).await?;
        found.extend(answer.parameters.unwrap_or_default());
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}

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
