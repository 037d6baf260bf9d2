//! The account and the caller.

use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput;

use super::{Aws, call, explain};
use crate::base::error::{Failure, Result};

/// The caller and its account.
pub struct Identity {
    /// The account's id.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The user's or the role session's name.
    pub by: String,
}

/// Asks STS for the account and the caller, which needs no permission.
pub async fn identity(aws: &Aws) -> Result<Identity> {
    let answer = call("sts:GetCallerIdentity", || aws.sts.get_caller_identity().send()).await;
    read(answer.map_err(|error| explain("AWS does not know these credentials", &error))?)
}

/// Reads STS's answer.
pub fn read(answer: GetCallerIdentityOutput) -> Result<Identity> {
    let arn = answer.arn.as_deref().unwrap_or_default();
    let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
    let by = arn.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
    let account = answer
        .account
        .ok_or_else(|| Failure::failed("AWS did not return the account's id").next("run the same command again"))?;
    Ok(Identity { account, partition, by })
}
