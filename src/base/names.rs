//! Every name that devopsctl gives to a resource in AWS, as a function of the deployment's name. What an instance is asked to do
//! has its tags in `resources::orders`.
//!
//! Names are deterministic: together with the tags they are the only state.

/// The deployment that a resource belongs to. Every resource that can carry tags carries this one.
pub const TAG_NAME: &str = "devopsctl:name";
/// On the instance: hash of what only a new instance can change.
pub const TAG_SPEC: &str = "devopsctl:spec";
/// On the address: the domain whose record points to it; empty after that record is gone.
pub const TAG_DOMAIN: &str = "devopsctl:domain";
/// On the instance: a request for a log.
pub const TAG_LOGS: &str = "devopsctl:logs";
/// On the instance: an SSH session; the session's id follows.
pub const TAG_SSH: &str = "devopsctl:ssh:";
/// On a volume: that it is the one with the app's files. On the instance: the order about it, see `resources::orders`.
pub const TAG_DATA: &str = "devopsctl:data";
/// On the security group: the client token of `RunInstances`.
pub const TAG_NONCE: &str = "devopsctl:nonce";

/// Security group, key pair, `Name` tag of instance and address.
pub fn common(name: &str) -> String {
    format!("devopsctl-{name}")
}

/// Role, inline policy and instance profile. IAM is global, so the region is part of it.
pub fn role(name: &str, region: &str) -> String {
    format!("devopsctl-{name}-{region}")
}

/// The app's role, and its inline policy. No region's code ends like this, so it is never the name of an instance's role.
pub fn app_role(name: &str, region: &str) -> String {
    format!("{}-app", role(name, region))
}

/// The folder of SSM parameters of all deployments.
pub const PARAMETERS: &str = "/devopsctl";

/// The deployment of a parameter, and its path below the deployment's folder: `token`, `secrets/…`, `report/i-…`.
pub fn of_parameter(parameter: &str) -> Option<(&str, &str)> {
    parameter.strip_prefix(PARAMETERS)?.strip_prefix('/')?.split_once('/')
}

/// The SSM parameter with the token.
pub fn token_parameter(name: &str) -> String {
    format!("/devopsctl/{name}/token")
}

/// The folder of the SSM parameters with the app's secrets.
pub fn secrets_path(name: &str) -> String {
    format!("/devopsctl/{name}/secrets")
}

/// The SSM parameter with one of the app's secrets.
pub fn secret_parameter(name: &str, secret: &str) -> String {
    format!("{}/{secret}", secrets_path(name))
}

/// The folder of the SSM parameters with the instances' reports.
pub fn report_path(name: &str) -> String {
    format!("/devopsctl/{name}/report")
}

/// The bucket of an account's region, and whether it is in the account's own namespace.
///
/// In that namespace no other account can take the name. Every region but two has it:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html>
pub fn bucket(account: &str, region: &str) -> (String, bool) {
    let own = !matches!(region, "me-south-1" | "me-central-1");
    (format!("devopsctl-{account}-{region}{}", if own { "-an" } else { "" }), own)
}

/// The TXT record that names the owner of the record beside it.
pub fn record_mark(domain: &str) -> String {
    format!("_devopsctl.{domain}")
}

/// The prefix of this deployment's objects in the bucket.
pub fn bucket_prefix(name: &str) -> String {
    format!("{name}/")
}

/// The prefix of the objects of all deployments. No deployment's name begins like this.
pub const TOOLS_PREFIX: &str = "_tools/";

/// The key of Caddy in the bucket.
pub fn caddy_key(sha384: &str) -> String {
    format!("{TOOLS_PREFIX}caddy-{sha384}.gz")
}

/// The key under which an instance keeps its certificates for its successor.
pub fn certificates_key(name: &str) -> String {
    format!("{name}/certificates.json")
}

/// The key under which an instance publishes one of its logs.
pub fn log_key(name: &str, instance: &str, source: &str) -> String {
    format!("{name}/logs/{instance}/{source}.json")
}

/// The prefix of the records that the commands of releases ran.
pub fn released_prefix(name: &str) -> String {
    format!("{name}/released/")
}

/// The key of the record that a release's commands ran. The instances write it.
pub fn released_key(name: &str, release: &str) -> String {
    format!("{}{release}.json", released_prefix(name))
}

/// The prefix of the records of scheduled runs. The instances write them.
pub fn schedule_prefix(name: &str) -> String {
    format!("{name}/schedule/")
}

/// The prefix of the releases in the bucket.
pub fn releases_prefix(name: &str) -> String {
    format!("{name}/releases/")
}

/// The key of a release in the bucket.
pub fn release_key(name: &str, release: &str) -> String {
    format!("{}{release}.tar.gz", releases_prefix(name))
}

/// The release under a key, if it is one of this deployment.
pub fn release_of_key<'a>(name: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(&releases_prefix(name))?.strip_suffix(".tar.gz").filter(|id| is_release(id))
}

/// Whether this is the id of a release: a sha256 in lower-case hexadecimal digits, and nothing else. It becomes a key and a path.
pub fn is_release(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is the id of a volume. The agent makes a path of it.
pub fn is_volume(id: &str) -> bool {
    let digits = id.strip_prefix("vol-").unwrap_or_default();
    (8..=32).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
    #[test]
    fn the_longest_name_of_a_role_fits() {
        assert!(app_role(&"n".repeat(31), "ap-southeast-3").len() <= 64);
    }

    #[test]
    fn the_id_of_a_release_is_a_whole_sha256() {
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
