//! What an AWS error means to a person, and what he can do about it.

use super::{ApiError, Settings};
use crate::base::error::{Exit, Failure, command};

const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
/// The codes with which a service refuses a signature that is 5 to 15 minutes off. Most of them have other causes as well.
const SKEWED: [&str; 6] = [
    "AuthFailure",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];
/// Seconds that a clock may be off before AWS minds: less than the five minutes of the strictest services.
const TOLERATED: u64 = 240;

/// Turns an API error into words: `what` failed, why, and what to type next.
pub fn explain(what: impl Into<String>, error: &ApiError) -> Failure {
    // Everything fails with such a clock or such credentials; which call was the first to say so tells nothing.
    if let Some(seconds) = off(error) {
        let (minutes, side) = ((seconds.unsigned_abs() + 30) / 60, if seconds > 0 { "ahead" } else { "behind" });
        return Failure::new(Exit::Denied, format!("this machine's clock is {minutes} minutes {side}"))
            .because("AWS refuses what is signed more than five minutes off")
            .next("set the clock (on Linux: sudo timedatectl set-ntp true), then run the same command again");
    }
    if unknown(error) {
        return Failure::new(Exit::Denied, "AWS does not know who you are")
            .because("it does not know the access key, or its secret is another; or the region is not enabled in this account")
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

const CHECK_CREDENTIALS: &str = "check the credentials, and that the region is enabled in this account";

/// By how many seconds the clock is ahead, where that is why AWS refused.
fn off(error: &ApiError) -> Option<i64> {
    error.ahead.filter(|ahead| error.is(&SKEWED) && ahead.unsigned_abs() > TOLERATED)
}

/// Whether AWS does not know who calls. EC2's `AuthFailure` has other meanings, too.
fn unknown(error: &ApiError) -> bool {
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

fn advice(error: &ApiError) -> (Exit, String) {
    let denied = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"];
    if error.is(&denied) && error.message.contains("service control policy") {
        return (
            Exit::Denied,
            "your organisation forbids this; whoever runs AWS Organizations there can allow it".into(),
        );
    }
    if error.is(&denied) {
        return (
            Exit::Denied,
            format!(
                "let an administrator allow {} to you ({} prints all that is needed), or choose another --profile",
                error.action,
                command("policy")
            ),
        );
    }
    if error.is(&EXPIRED) {
        return (
            Exit::Denied,
            "get new credentials (aws sso login, or aws login), then run the same command again".into(),
        );
    }
    if error.is(&["AuthFailure"]) {
        return (Exit::Denied, CHECK_CREDENTIALS.into());
    }
    if error.is(&["VcpuLimitExceeded"]) {
        return (
            Exit::Failed,
            format!(
                "this account's quota of vCPUs does not allow it: {} shows how many it is, and how to ask for more; or end \
                 another instance",
                command("doctor")
            ),
        );
    }
    if error.says("InvalidParameterCombination", "not eligible for Free Tier") {
        let choose = match error.message.contains("image is not") {
            true => "images: choose another instance.image".to_owned(),
            false => format!("types: {} names them; choose one of them as instance.type", command("doctor")),
        };
        return (
            Exit::Failed,
            format!(
                "this account is on the free plan, which has other {choose}; or take the paid plan (Billing console)"
            ),
        );
    }
    (Exit::Failed, failure_advice(error).into())
}

fn failure_advice(error: &ApiError) -> &'static str {
    match error.code.as_str() {
        "VPCIdNotSpecified" | "MissingInput" | "DefaultVpcDoesNotExist" => {
            "this region has no default VPC that an instance could go to: name a subnet as network.subnet in deploy.yaml, \
             or make a default VPC with: aws ec2 create-default-vpc"
        }
        "DependencyViolation" => {
            "something that is not devopsctl's uses it: find it in the EC2 console (network interfaces), remove it, then run \
             the same command again"
        }
        "InvalidAMIID.NotFound" => {
            "the account may allow certain images only (EC2 console, Settings, Allowed AMIs); or choose another instance.image"
        }
        "InvalidParameter" if error.message.contains("different networks") => {
            "network.subnet is in another VPC than the security group, and a group cannot move: devopsctl down, then up"
        }
        "Gateway.NotAttached" => {
            "the subnet's VPC has no internet gateway: attach one (VPC console, Internet gateways), or name a subnet of another \
             VPC as network.subnet in deploy.yaml"
        }
        "InsufficientFreeAddressesInSubnet" => "name another subnet as network.subnet in deploy.yaml",
        "InvalidSubnetID.NotFound" => "correct network.subnet in deploy.yaml, or the region",
        "InsufficientInstanceCapacity" => {
            "AWS has no such instance free in this zone now: try again in some minutes, or choose another instance.type"
        }
        "Unsupported" | "InstanceTypeNotSupported" => {
            "this zone does not have that instance type: choose another instance.type or network.subnet"
        }
        "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
            "this account's limit is reached: end another instance, or ask for more in the Service Quotas console"
        }
        "AddressLimitExceeded" => {
            "all Elastic IPs of this region are in use (5 by default): release one, ask for more in the Service Quotas console, \
             or set network.static_ip: false"
        }
        "PendingVerification" | "OptInRequired" | "Blocked" => {
            "AWS has not yet cleared this account for EC2: see the mail or the support case in its console"
        }
        "BucketAlreadyExists" => {
            "another account holds this bucket's name, so releases cannot be kept there: use another region"
        }
        "OperationAborted" => {
            "the bucket was deleted a short while ago and S3 still holds its name: run the same command again in some minutes"
        }
        "SandboxDiskFull" => "free some space on that disk, then run the same command again",
        "OperationNotPermitted" => {
            "termination protection is on: switch it off in the EC2 console, then run the same command again"
        }
        "" => "check the network (and the region's name), then run the same command again",
        _ => "run the same command again; with -v it shows every call",
    }
}

/// No credentials, or none that work.
pub(super) fn no_credentials<E: std::error::Error>(settings: &Settings, error: &E) -> Failure {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        reason = below.to_string();
        cause = below.source();
    }
    // The machine's own role is what is asked for last. A metadata service that refuses is not why there are none.
    let refused = settings.profile.is_none() && reason.contains("IMDS is disabled");
    if refused || reason.starts_with("no credentials found in chain") {
        tracing::debug!("{reason}");
        reason = "neither the environment, nor an AWS profile, nor this machine has any".to_owned();
    }
    let whose = settings.profile.as_ref().map_or_else(String::new, |profile| format!(" for profile {profile}"));
    Failure::new(Exit::Denied, format!("no AWS credentials were found{whose}"))
        .because(reason)
        .next("sign in (aws login, aws sso login, or aws configure), then run the same command again; or try it all without an account: add --sandbox")
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
        let failure =
            explain("the instance cannot be launched", &error("UnauthorizedOperation", "You are not authorized."));
        assert_eq!(failure.exit(), Exit::Denied);
        assert!(failure.reasons()[0].contains("ec2:RunInstances says UnauthorizedOperation"));
        assert!(failure.next_step().unwrap().contains("allow ec2:RunInstances"));
    }

    #[test]
    fn an_organisations_no_is_told_from_a_missing_permission() {
        let failure =
            explain("x", &error("UnauthorizedOperation", "… with an explicit deny in a service control policy"));
        assert!(failure.next_step().unwrap().contains("organisation"));
    }

    #[test]
    fn the_clock_is_blamed_only_where_it_is_off() {
        for code in SKEWED {
            let words = "AWS was not able to validate the provided access credentials";
            let with = |ahead| explain("x", &ApiError { ahead, ..error(code, words) });
            assert_eq!(with(Some(610)).what(), "this machine's clock is 10 minutes ahead", "{code}");
            assert_eq!(with(Some(-3600)).what(), "this machine's clock is 60 minutes behind", "{code}");
            for right in [None, Some(0), Some(200), Some(-200)] {
                let failure = with(right);
                assert!(!failure.what().contains("clock"), "{code}");
                assert!(!failure.next_step().unwrap().contains("clock"), "{code}");
                assert_eq!(failure.exit(), Exit::Denied, "{code}");
            }
        }
        assert_eq!(explain("x", &ApiError { ahead: Some(610), ..error("AccessDenied", "no") }).what(), "x");
    }

    #[test]
    fn credentials_that_are_not_known_are_told_alike_whichever_call_is_first() {
        let codes =
            ["UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidAccessKeyId"];
        let codes = codes.map(|code| error(code, "words of its own"));
        let ec2 = error("AuthFailure", "AWS was not able to validate the provided access credentials");
        for error in codes.iter().chain([&ec2]) {
            let failure = explain("x", error);
            assert_eq!(failure.what(), "AWS does not know who you are");
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
            advice(&error("InvalidParameterCombination", &words)).1
        };
        assert!(next("instance type").contains("choose one of them as instance.type"));
        assert!(next("image").contains("choose another instance.image"));
        assert!(!advice(&error("InvalidParameterCombination", "of other things")).1.contains("plan"));
    }

    #[test]
    fn each_of_these_has_its_own_words() {
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
        let words: std::collections::BTreeSet<String> = codes.iter().map(|code| advice(&error(code, "")).1).collect();
        assert_eq!(words.len(), codes.len());
        assert!(!words.contains(failure_advice(&error("SomethingElse", ""))));
    }
}
