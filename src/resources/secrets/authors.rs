//! Who wrote each secret. Only `DescribeParameters` tells it, and its permission cannot be limited to parameters of ours, so a caller
//! may lack it.

use std::collections::BTreeMap;

use aws_sdk_ssm::types::ParameterStringFilter;

use crate::aws::{Aws, call, explain};
use crate::base::error::{Exit, Failure, Result};
use crate::base::names;

/// The last author of each secret, by its name: the last part of the ARN of a user or session. `None` without the permission.
///
/// # Errors
/// A call to SSM fails.
pub async fn authors(aws: &Aws, name: &str) -> Result<Option<BTreeMap<String, String>>> {
    match described(aws, name).await {
        Err(failure) if failure.exit() == Exit::Denied => Ok(None),
        found => found.map(Some),
    }
}

async fn described(aws: &Aws, name: &str) -> Result<BTreeMap<String, String>> {
    let path = names::secrets_path(name);
    let below = ParameterStringFilter::builder().key("Path").option("OneLevel").values(path).build();
    let below = below.map_err(|error| Failure::bug(error.to_string()))?;
    let (mut found, mut page) = (BTreeMap::new(), None);
    loop {
        let request = || {
            aws.ssm
                .describe_parameters()
                .parameter_filters(below.clone())
                .max_results(50)
                .set_next_token(page.clone())
                .send()
        };
        let answer = call("ssm:DescribeParameters", request)
            .await
            .map_err(|error| explain("cannot look up who wrote the app's secrets", &error))?;
        for parameter in answer.parameters.unwrap_or_default() {
            let secret = parameter.name.as_deref().and_then(|name| name.rsplit('/').next()).map(str::to_owned);
            let by = parameter.last_modified_user.as_deref().and_then(|arn| arn.rsplit(['/', ':']).next());
            found.extend(secret.zip(by.map(str::to_owned)));
        }
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}
