//! Where credentials were found, in words.

use aws_sdk_ec2::config::Credentials;

/// The SDK names the provider to whoever prints credentials for debugging (without the secret), and nowhere else. If it
/// does so no longer, or names one that is not known here, nothing is said.
pub(super) fn of(credentials: &Credentials) -> Option<&'static str> {
    let text = format!("{credentials:?}");
    words(text.split_once("provider_name: \"")?.1.split_once('"')?.0)
}

fn words(provider: &str) -> Option<&'static str> {
    Some(match provider {
        "EnvironmentVariable" => "the environment",
        "ProfileFile" => "a profile's keys",
        "SSO" => "SSO",
        "Login" => "aws login",
        "CredentialProcess" => "a credential process",
        "AssumeRoleProvider" => "a role that a profile names",
        "WebIdentityToken" => "a web identity",
        "EcsContainer" => "the container's role",
        "IMDSv2" => "the instance's role",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_tells_who_found_them() {
        let by = |provider| of(&Credentials::new("key", "secret", None, None, provider));
        assert_eq!(by("EnvironmentVariable"), Some("the environment"));
        assert_eq!(by("SSO"), Some("SSO"));
        assert_eq!(by("something new"), None);
    }
}
