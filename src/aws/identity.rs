//! Whose account it is, and who asks.

use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput;

use super::{Aws, call, explain};
use crate::base::error::{Failure, Result};

/// Who asks, and of which account.
pub struct Identity {
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The user's or the role session's name.
    pub by: String,
}

/// Whose account it is, and who asks. The call needs no permission.
///
/// # Errors
/// What STS says.
pub async fn identity(aws: &Aws) -> Result<Identity> {
    let answer = call("sts:GetCallerIdentity", || aws.sts.get_caller_identity().send()).await;
    told(answer.map_err(|error| explain("AWS does not know who you are", &error))?)
}

/// What the answer to that says.
///
/// # Errors
/// That it names no account.
pub fn told(answer: GetCallerIdentityOutput) -> Result<Identity> {
    let arn = answer.arn.as_deref().unwrap_or_default();
    let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
    let by = arn.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
    let account = answer
        .account
        .ok_or_else(|| Failure::failed("AWS does not say which account this is").next("run the same command again"))?;
    Ok(Identity { account, partition, by })
}
