//! CPU credits of burstable types. T3 and T4g instances launched as standard have no credits at first, and boot with a
//! fifth of a CPU or less; unlimited costs more than the instance itself if an app exceeds its baseline for a day.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode-concepts.html>

use std::collections::BTreeSet;

use crate::aws::{ApiError, Aws, call, explain, once};
use crate::base::error::{Failure, Result};
use crate::config::CpuCredits;

/// EC2's two modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credits {
    /// Without credits, the instance is slowed down.
    Standard,
    /// Without credits, the instance keeps its speed and costs more.
    Unlimited,
}

impl Credits {
    /// EC2's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            Credits::Standard => "standard",
            Credits::Unlimited => "unlimited",
        }
    }

    /// The mode of a launch of a burstable instance.
    pub fn at_launch(wanted: CpuCredits) -> Self {
        if wanted == CpuCredits::Standard { Credits::Standard } else { Credits::Unlimited }
    }

    /// The wanted mode of an existing burstable instance; `None` if either mode is fine.
    pub fn wanted(wanted: CpuCredits, healthy: bool) -> Option<Self> {
        match wanted {
            CpuCredits::Auto => healthy.then_some(Credits::Standard),
            CpuCredits::Standard => Some(Credits::Standard),
            CpuCredits::Unlimited => Some(Credits::Unlimited),
        }
    }
}

/// The ids of all unlimited instances: EC2 returns these if the request names none. `None` if EC2 fails, for example
/// during a disruption of a zone: that must not block `up`.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceCreditSpecifications.html>
pub(crate) async fn unlimited(aws: &Aws) -> Option<BTreeSet<String>> {
    let (mut found, mut page) = (BTreeSet::new(), None);
    loop {
        let request = aws.ec2.describe_instance_credit_specifications().set_next_token(page);
        let answer = once("ec2:DescribeInstanceCreditSpecifications", || request.clone().send()).await.ok()?;
        let specifications = answer.instance_credit_specifications.unwrap_or_default().into_iter();
        let unlimited = specifications.filter(|one| one.cpu_credits() == Some(Credits::Unlimited.name()));
        found.extend(unlimited.filter_map(|one| one.instance_id));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Some(found);
        }
    }
}

/// Sets the mode of a running or stopped instance.
///
/// # Errors
/// EC2 refuses the call or the instance.
pub async fn set(aws: &Aws, id: &str, credits: Credits) -> Result<()> {
    const ACTION: &str = "ec2:ModifyInstanceCreditSpecification";
    let failed = |error: &ApiError| -> Failure { explain(format!("cannot set the CPU credits of {id}"), error) };
    let request = || {
        let specification = aws_sdk_ec2::types::InstanceCreditSpecificationRequest::builder()
            .instance_id(id)
            .cpu_credits(credits.name())
            .build();
        aws.ec2.modify_instance_credit_specification().instance_credit_specifications(specification).send()
    };
    let answer = call(ACTION, request).await.map_err(|error| failed(&error))?;
    let refused = answer.unsuccessful_instance_credit_specifications.unwrap_or_default().into_iter().next();
    let Some(error) = refused.and_then(|one| one.error) else { return Ok(()) };
    let code = error.code.map(|code| code.as_str().to_owned()).unwrap_or_default();
    let message = error.message.unwrap_or_default();
    Err(failed(&ApiError { action: ACTION, code, message, status: Some(200), ahead: None }))
}
