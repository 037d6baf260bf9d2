//! Every name that devopsctl gives to something in AWS, as a function of the deployment's name.
//!
//! Names are deterministic: they, with the tags, are the only state there is.

/// The deployment that a resource belongs to. Every resource that can carry tags carries this one.
pub const TAG_NAME: &str = "devopsctl:name";
/// On the instance: hash of what only a new instance can change.
pub const TAG_SPEC: &str = "devopsctl:spec";
/// On the instance: the release it is to run.
pub const TAG_RELEASE: &str = "devopsctl:release";
/// On the instance: the release that `rollback` goes to. For the command line; the agent does not look at it.
pub const TAG_PREVIOUS: &str = "devopsctl:previous";
/// On the instance: the token parameter's version. A doorbell only: the agent always takes the newest.
pub const TAG_TOKEN: &str = "devopsctl:token";
/// On the instance: the Elastic IP that leads to it. Before that is so, no certificate is asked for.
pub const TAG_ADDRESS: &str = "devopsctl:address";
/// On the address: the name whose record leads to it; empty where there is none any more.
pub const TAG_DOMAIN: &str = "devopsctl:domain";
/// On the instance: changed to have the agent try again what it gave up.
pub const TAG_TRY: &str = "devopsctl:try";
/// On the instance: somebody looks at its log.
pub const TAG_LOGS: &str = "devopsctl:logs";
/// On the instance: somebody is connected by SSH; behind it which one.
pub const TAG_SSH: &str = "devopsctl:ssh:";
/// On the security group: what `RunInstances` carries as its client token.
pub const TAG_NONCE: &str = "devopsctl:nonce";

/// Security group, key pair, `Name` tag of instance and address.
pub fn common(name: &str) -> String {
    format!("devopsctl-{name}")
}

/// Role, inline policy and instance profile. IAM is global, so the region is part of it.
pub fn role(name: &str, region: &str) -> String {
    format!("devopsctl-{name}-{region}")
}

/// The folder of SSM parameters of all deployments.
pub const PARAMETERS: &str = "/devopsctl";

/// Which deployment's parameter that is, and what it is below the deployment's folder: `token`, `report/i-…`.
pub fn of_parameter(parameter: &str) -> Option<(&str, &str)> {
    parameter.strip_prefix(PARAMETERS)?.strip_prefix('/')?.split_once('/')
}

/// The SSM parameter with the token.
pub fn token_parameter(name: &str) -> String {
    format!("/devopsctl/{name}/token")
}

/// The folder of SSM parameters in which instances report.
pub fn report_path(name: &str) -> String {
    format!("/devopsctl/{name}/report")
}

/// The bucket of an account's region, and whether it lies in the account's own namespace.
///
/// In that namespace nobody else can take the name. Every region has it but two:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html>
pub fn bucket(account: &str, region: &str) -> (String, bool) {
    let own = !matches!(region, "me-south-1" | "me-central-1");
    (format!("devopsctl-{account}-{region}{}", if own { "-an" } else { "" }), own)
}

/// The TXT record that says whose the record beside it is.
pub fn record_mark(domain: &str) -> String {
    format!("_devopsctl.{domain}")
}

/// What of the bucket is this deployment's.
pub fn bucket_prefix(name: &str) -> String {
    format!("{name}/")
}

/// What of the bucket is for all deployments. No deployment's name begins so.
pub const TOOLS_PREFIX: &str = "_tools/";

/// Where Caddy lies in the bucket.
pub fn caddy_key(sha384: &str) -> String {
    format!("{TOOLS_PREFIX}caddy-{sha384}.gz")
}

/// Where an instance keeps its certificates, for the one after it.
pub fn certificates_key(name: &str) -> String {
    format!("{name}/certificates.json")
}

/// Where an instance shows one of its logs.
pub fn log_key(name: &str, instance: &str, source: &str) -> String {
    format!("{name}/logs/{instance}/{source}.json")
}

/// Where the releases lie in the bucket.
pub fn releases_prefix(name: &str) -> String {
    format!("{name}/releases/")
}

/// Where a release lies in the bucket.
pub fn release_key(name: &str, release: &str) -> String {
    format!("{}{release}.tar.gz", releases_prefix(name))
}

/// Which release lies there, if it is one of this deployment's.
pub fn release_of_key<'a>(name: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(&releases_prefix(name))?.strip_suffix(".tar.gz").filter(|id| is_release(id))
}

/// Whether this is a release's id: a sha256 in small hexadecimal digits, and nothing beside it. It becomes a key and a path.
pub fn is_release(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_whole_sha256() {
        let id = "0123456789abcdef".repeat(4);
        assert!(is_release(&id));
        let wrong = ["../../../x", "", &id[1..], &format!("{id}0"), &id.to_uppercase(), &format!("{}\n", &id[1..])];
        // Digits of other scripts, in as many bytes as an id has.
        for wrong in wrong.into_iter().chain(["\u{661}".repeat(32).as_str(), &format!("{}\u{b2}", &id[2..])]) {
            assert!(!is_release(wrong), "{wrong:?}");
            assert_eq!(release_of_key("hello", &release_key("hello", wrong)), None, "{wrong:?}");
        }
        assert_eq!(release_of_key("hello", &release_key("hello", &id)), Some(&*id));
        assert_eq!(release_of_key("other", &release_key("hello", &id)), None);
    }
}
