//! Translates an AWS error for the user: the cause, and what to do next.

use super::{ApiError, Settings};
use crate::base::error::{Exit, Failure};
use crate::base::next::Next;

const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
const DENIED: [&str; 3] = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"];
/// The codes with which a service refuses a signature that is 5 to 15 minutes off. Most of them have other causes as well.
const SKEWED: [&str; 6] = [
    "AuthFailure",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];
/// How many seconds a clock may be off; the strictest services allow five minutes.
const TOLERATED: u64 = 240;

const CHECK_CREDENTIALS: &str = "check the credentials, and that the region is enabled in this account";

/// Turns an API error into a [`Failure`]: `what` failed, why, and what to do next.
pub fn explain(what: impl Into<String>, error: &ApiError) -> Failure {
    // A wrong clock and unknown credentials fail every call, so the call that failed first is not named.
    if let Some(seconds) = clock_offset(error) {
        let (minutes, side) = ((seconds.unsigned_abs() + 30) / 60, if seconds > 0 { "ahead" } else { "behind" });
        return Failure::new(Exit::Denied, format!("this machine's clock is {minutes} minutes {side}"))
            .because("AWS refuses signatures that are more than five minutes off")
            .next("set the clock (on Linux: sudo timedatectl set-ntp true), then run the same command again");
    }
    if is_unknown(error) {
        return Failure::new(Exit::Denied, "AWS does not know these credentials")
            .because("the access key or its secret is wrong, or the region is not enabled in this account")
            .next(CHECK_CREDENTIALS);
    }
    let (exit, next) = advice(error);
    let code = match error.status {
        _ if !error.code.is_empty() => error.code.clone(),
        Some(status) => status.to_string(),
        None => "no answer".to_owned(),
    };
    let what = if error.is(&EXPIRED) { "the AWS credentials have expired".to_owned() } else { what.into() };
    Failure::new(exit, what)
        .because(format!("{} says {code}: {}", error.action, error.message.trim_end_matches('.')))
        .next(next)
}

/// By how many seconds the clock is ahead, if that is why AWS refused.
fn clock_offset(error: &ApiError) -> Option<i64> {
    error.ahead.filter(|ahead| error.is(&SKEWED) && ahead.unsigned_abs() > TOLERATED)
}

/// Whether AWS does not know the credentials. EC2's `AuthFailure` has other meanings, too.
fn is_unknown(error: &ApiError) -> bool {
    const CODES: [&str; 7] = [
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ];
    error.is(&CODES) || error.says("AuthFailure", "credentials")
}

fn advice(error: &ApiError) -> (Exit, Next) {
    if error.is(&DENIED) && error.message.contains("service control policy") {
        return (
            Exit::Denied,
            "your organization forbids this; an administrator of AWS Organizations can allow it".into(),
        );
    }
    if error.is(&DENIED) {
        let next = Next::from(format!("ask an administrator to allow {} (", error.action))
            .run_bare("policy")
            .and(" prints all permissions that are needed), or choose another --profile");
        return (Exit::Denied, next);
    }
    if error.is(&EXPIRED) {
        let next = "get new credentials (aws sso login, or aws login), then run the same command again";
        return (Exit::Denied, next.into());
    }
    if error.is(&["AuthFailure"]) {
        return (Exit::Denied, CHECK_CREDENTIALS.into());
    }
    let next = if error.is(&["VcpuLimitExceeded"]) {
        Next::from("this account's vCPU quota is too small: ")
            .run_bare("doctor")
            .and(" shows it and how to request more; or terminate another instance")
    } else if error.says("InvalidParameterCombination", "not eligible for Free Tier") {
        free_plan(error)
    } else {
        failure_advice(error).into()
    };
    (Exit::Failed, next)
}

fn free_plan(error: &ApiError) -> Next {
    let plan = "this account is on the free plan, which allows other ";
    let next = match error.message.contains("image is not") {
        true => Next::from(format!("{plan}images: choose another instance.image")),
        false => Next::from(format!("{plan}types: "))
            .run_bare("doctor")
            .and(" lists them; choose one of them as instance.type"),
    };
    next.and("; or upgrade to the paid plan (Billing console)")
}

fn failure_advice(error: &ApiError) -> &'static str {
    match error.code.as_str() {
        "VPCIdNotSpecified" | "MissingInput" | "DefaultVpcDoesNotExist" => {
            "this region has no default VPC for the instance: name a subnet as network.subnet in deploy.yaml, or create a \
             default VPC with: aws ec2 create-default-vpc"
        }
        "DependencyViolation" => {
            "a resource that does not belong to devopsctl uses it: find it in the EC2 console (network interfaces), remove it, \
             then run the same command again"
        }
        "InvalidAMIID.NotFound" => {
            "the account may allow only certain images (EC2 console, Settings, Allowed AMIs); or choose another instance.image"
        }
        "InvalidParameter" if error.message.contains("different networks") => {
            "network.subnet is in another VPC than the security group, which cannot be moved: devopsctl down, then up"
        }
        "Gateway.NotAttached" => {
            "the subnet's VPC has no internet gateway: attach one (VPC console, Internet gateways), or name a subnet of another \
             VPC as network.subnet in deploy.yaml"
        }
        "InsufficientFreeAddressesInSubnet" => "name another subnet as network.subnet in deploy.yaml",
        "InvalidSubnetID.NotFound" => "correct network.subnet in deploy.yaml, or the region",
        "InsufficientInstanceCapacity" => {
            "AWS has no capacity for this type in the zone now: try again in some minutes, or choose another instance.type"
        }
        "Unsupported" | "InstanceTypeNotSupported" => {
            "this zone does not offer the instance type: choose another instance.type or network.subnet"
        }
        "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
            "this account's limit is reached: terminate another instance, or request more in the Service Quotas console"
        }
        "AddressLimitExceeded" => {
            "all Elastic IPs of this region are in use (5 by default): release one, request more in the Service Quotas console, \
             or set network.static_ip: false"
        }
        "PendingVerification" | "OptInRequired" | "Blocked" => {
            "AWS has not yet verified this account for EC2: see the email or the support case in its console"
        }
        "BucketAlreadyExists" => {
            "another account owns the bucket's name, so releases cannot be stored: use another region"
        }
        "OperationAborted" => {
            "the bucket was deleted recently and S3 still reserves its name: run the same command again in some minutes"
        }
        "SandboxDiskFull" => "free some space on that disk, then run the same command again",
        "OperationNotPermitted" => {
            "termination protection is on: disable it in the EC2 console, then run the same command again"
        }
        "" => "check the network (and the region's name), then run the same command again",
        _ => "run the same command again; -v shows every call",
    }
}

/// There are no credentials, or none of them work.
pub(super) fn no_credentials<E: std::error::Error>(settings: &Settings, error: &E) -> Failure {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        reason = below.to_string();
        cause = below.source();
    }
    // The instance's role is the last source. A metadata service that refuses is not the reason.
    let refused = settings.profile.is_none() && reason.contains("IMDS is disabled");
    if refused || reason.starts_with("no credentials found in chain") {
        tracing::debug!("{reason}");
        reason = "the environment, the AWS profiles and this machine have none".to_owned();
    }
    let whose = settings.profile.as_ref().map_or_else(String::new, |profile| format!(" for profile {profile}"));
    Failure::new(Exit::Denied, format!("no AWS credentials were found{whose}"))
        .because(reason)
        .next("sign in (aws login, aws sso login, or aws configure), then run the same command again; or try it without an account: add --sandbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str) -> ApiError {
        ApiError {
            action: "ec2:RunInstances",
            code: code.into(),
            message: message.into(),
            status: Some(400),
            ahead: None,
        }
    }

    #[test]
    fn a_denial_names_the_action() {
        let failure = explain("cannot launch the instance", &error("UnauthorizedOperation", "You are not authorized."));
        assert_eq!(failure.exit(), Exit::Denied);
        assert!(failure.reasons()[0].contains("ec2:RunInstances says UnauthorizedOperation"));
        assert!(failure.next_step().unwrap().to_string().contains("allow ec2:RunInstances"));
    }

    #[test]
    fn a_service_control_policy_is_not_a_missing_permission() {
        let failure =
            explain("x", &error("UnauthorizedOperation", "… with an explicit deny in a service control policy"));
        assert!(failure.next_step().unwrap().to_string().contains("organization"));
    }

    #[test]
    fn the_clock_is_the_cause_only_if_it_is_wrong() {
        for code in SKEWED {
            let words = "AWS was not able to validate the provided access credentials";
            let with = |ahead| explain("x", &ApiError { ahead, ..error(code, words) });
            assert_eq!(with(Some(610)).what(), "this machine's clock is 10 minutes ahead", "{code}");
            assert_eq!(with(Some(-3600)).what(), "this machine's clock is 60 minutes behind", "{code}");
            for right in [None, Some(0), Some(200), Some(-200)] {
                let failure = with(right);
                assert!(!failure.what().contains("clock"), "{code}");
                assert!(!failure.next_step().unwrap().to_string().contains("clock"), "{code}");
                assert_eq!(failure.exit(), Exit::Denied, "{code}");
            }
        }
        assert_eq!(explain("x", &ApiError { ahead: Some(610), ..error("AccessDenied", "no") }).what(), "x");
    }

    #[test]
    fn unknown_credentials_have_the_same_message_for_every_service() {
        let codes =
            ["UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidAccessKeyId"];
        let codes = codes.map(|code| error(code, "words of its own"));
        let ec2 = error("AuthFailure", "AWS was not able to validate the provided access credentials");
        for error in codes.iter().chain([&ec2]) {
            let failure = explain("x", error);
            assert_eq!(failure.what(), "AWS does not know these credentials");
            assert_eq!((failure.exit(), failure.reasons().len()), (Exit::Denied, 1));
            assert!(!failure.reasons()[0].contains("words"));
        }
        let other = explain("x", &error("AuthFailure", "You do not have permission to access the specified resource."));
        assert_eq!((other.what(), other.exit()), ("x", Exit::Denied));
    }

    #[test]
    fn the_free_plan_refuses_a_type_or_an_image() {
        let next = |what: &str| {
            let words =
                format!("The specified {what} is not eligible for Free Tier. For a list of Free Tier {what}s, …");
            advice(&error("InvalidParameterCombination", &words)).1.to_string()
        };
        assert!(next("instance type").contains("choose one of them as instance.type"));
        assert!(next("image").contains("choose another instance.image"));
        assert!(!advice(&error("InvalidParameterCombination", "of other things")).1.to_string().contains("plan"));
    }

    #[test]
    fn each_of_these_codes_has_its_own_advice() {
        let codes = [
            "VPCIdNotSpecified",
            "InsufficientInstanceCapacity",
            "Unsupported",
            "VcpuLimitExceeded",
            "AddressLimitExceeded",
            "PendingVerification",
            "OperationAborted",
            "ExpiredToken",
        ];
        let words: std::collections::BTreeSet<String> =
            codes.iter().map(|code| advice(&error(code, "")).1.to_string()).collect();
        assert_eq!(words.len(), codes.len());
        assert!(!words.contains(failure_advice(&error("SomethingElse", ""))));
    }
}
