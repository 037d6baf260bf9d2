//! What AWS may have against a call, each with words and a way out of its own.

use super::account::Account;
use crate::console::fault;

/// The name, the failing call, its code, message and status; the exit code of the command.
type Code = (&'static str, &'static str, &'static str, &'static str, u16, i32);

const ORGANIZATION: &str =
    "You are not authorized to perform this operation with an explicit deny in a service control policy.";
const CODES: [Code; 19] = [
    (
        "access_denied",
        "RunInstances",
        "UnauthorizedOperation",
        "You are not authorized to perform this operation.",
        403,
        5,
    ),
    ("an_organization_forbids_it", "RunInstances", "UnauthorizedOperation", ORGANIZATION, 403, 5),
    (
        "expired_credentials",
        "GetCallerIdentity",
        "ExpiredToken",
        "The security token included in the request is expired",
        403,
        5,
    ),
    (
        "unknown_credentials",
        "GetCallerIdentity",
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        403,
        5,
    ),
    ("no_default_vpc", "CreateSecurityGroup", "VPCIdNotSpecified", "No default VPC for this user", 400, 1),
    (
        "no_capacity",
        "RunInstances",
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient t3.micro capacity in the Availability Zone you requested (us-east-1a).",
        500,
        1,
    ),
    (
        "a_type_that_the_zone_lacks",
        "RunInstances",
        "Unsupported",
        "Your requested instance type (t3.micro) is not supported in your requested Availability Zone (us-east-1e).",
        400,
        1,
    ),
    (
        "the_limit_for_vcpus",
        "RunInstances",
        "VcpuLimitExceeded",
        "You have requested more vCPU capacity than your current vCPU limit of 1 allows for the instance bucket that the specified instance type belongs to.",
        400,
        1,
    ),
    (
        "the_limit_for_addresses",
        "AllocateAddress",
        "AddressLimitExceeded",
        "The maximum number of addresses has been reached.",
        400,
        1,
    ),
    (
        "an_account_that_is_not_cleared",
        "RunInstances",
        "PendingVerification",
        "Your request for accessing resources in this region is being validated.",
        400,
        1,
    ),
    (
        "the_free_plan",
        "RunInstances",
        "InvalidParameterCombination",
        "The specified instance type is not eligible for Free Tier.",
        400,
        1,
    ),
    (
        "the_free_plan_and_the_image",
        "RunInstances",
        "InvalidParameterCombination",
        "The specified image is not eligible for Free Tier. For a list of Free Tier images, run 'describe-images' with the filter 'free-tier-eligible=true'.",
        400,
        1,
    ),
    (
        "an_image_that_is_not_allowed",
        "RunInstances",
        "InvalidAMIID.NotFound",
        "The image id '[ami-0123456789abcdef0]' does not exist",
        400,
        1,
    ),
    (
        "a_full_subnet",
        "RunInstances",
        "InsufficientFreeAddressesInSubnet",
        "There are not enough free addresses in subnet 'subnet-0123456789abcdef0'.",
        400,
        1,
    ),
    (
        "a_vpc_without_a_gateway",
        "AssociateAddress",
        "Gateway.NotAttached",
        "Network vpc-0123456789abcdef0 is not attached to any internet gateway",
        400,
        1,
    ),
    (
        "a_subnet_in_another_vpc",
        "RunInstances",
        "InvalidParameter",
        "Security group sg-0123456789abcdef0 and subnet subnet-0123456789abcdef0 belong to different networks.",
        400,
        1,
    ),
    (
        "a_subnet_that_is_not_there",
        "DescribeSubnets",
        "InvalidSubnetID.NotFound",
        "The subnet ID 'subnet-0123456789abcdef0' does not exist",
        400,
        1,
    ),
    (
        "termination_protection",
        "TerminateInstances",
        "OperationNotPermitted",
        "The instance may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
        400,
        1,
    ),
    ("a_certain_code", "ImportKeyPair", "SomethingNew", "AWS has a word that nobody here knows.", 400, 1),
];

#[test]
#[ignore = "slow"]
fn each_has_its_own_words() {
    let account = Account::start();
    for (name, action, code, message, status, exit) in CODES {
        let ends = action.starts_with("Delete") || action.starts_with("Terminate");
        if ends {
            account.stand()
        } else {
            account.reset()
        }
        let message = message.replace(' ', "+");
        fault(
            &account.project,
            &format!("refuse?action={action}&code={code}&message={message}&status={status}&times=99"),
        );
        account.shown(name, if ends { "down --yes" } else { "up --no-wait" }, exit);
        fault(&account.project, &format!("accept?action={action}"));
    }
}

#[test]
fn a_clock_that_is_wrong() {
    let account = Account::start();
    account.reset();
    fault(&account.project, "clock?ahead=600");
    account.shown("a_clock_that_is_wrong", "up --no-wait", 5);
    fault(&account.project, "clock?ahead=0");
}
