//! The source of the credentials, in words.

use aws_sdk_ec2::config::Credentials;

/// The SDK shows the provider only in the `Debug` output, which contains no secret. `None` if that changes, or if the provider is
/// unknown here.
pub(super) fn of(credentials: &Credentials) -> Option<&'static str> {
    let text = format!("{credentials:?}");
    words(text.split_once("provider_name: \"")?.1.split_once('"')?.0)
}

fn words(provider: &str) -> Option<&'static str> {
    Some(match provider {
        "EnvironmentVariable" => "environment variables",
        "ProfileFile" => "keys in a profile",
        "SSO" => "SSO",
        "Login" => "aws login",
        "CredentialProcess" => "a credential process",
        "AssumeRoleProvider" => "a role in a profile",
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
    fn the_sdk_shows_the_provider() {
        let by = |provider| of(&Credentials::new("key", "secret", None, None, provider));
        assert_eq!(by("EnvironmentVariable"), Some("environment variables"));
        assert_eq!(by("SSO"), Some("SSO"));
        assert_eq!(by("something new"), None);
    }
}
