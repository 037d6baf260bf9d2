//! The permissions of the instance's role for its references: to read exactly these sources, and to decrypt them with a customer's key.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::Source;
use crate::resources::document::Document;

/// Secrets Manager adds a hyphen and six random characters to the name of a secret.
const RANDOM: &str = "-??????";

/// Where the role is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `aws`, `aws-cn`, …
    pub partition: &'a str,
    /// The account's number.
    pub account: &'a str,
    /// The region's code.
    pub region: &'a str,
}

/// The ARN of a source in a policy.
pub fn resource(place: Place<'_>, source: &Source) -> String {
    let Place { partition, account, region } = place;
    match source {
        Source::Parameter(name) => {
            format!("arn:{partition}:ssm:{region}:{account}:parameter/{}", name.trim_start_matches('/'))
        }
        Source::Secret(arn) if source.region().is_some() => arn.clone(),
        Source::Secret(name) => format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{name}{RANDOM}"),
    }
}

/// The statements that allow a role to read the sources.
///
/// AWS's own keys need no permission, as their policies give all principals of the account access. A customer's key may change, and be
/// named by an alias, which a policy cannot. So the statement names no key: it is limited by the service that decrypts, and by the
/// encryption context, which is the ARN of what is decrypted:
/// <https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html>,
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html>
pub fn statements(place: Place<'_>, sources: &BTreeSet<Source>) -> Vec<Value> {
    let of = |wanted: fn(&Source) -> bool| -> Vec<String> {
        sources.iter().filter(|source| wanted(source)).map(|source| resource(place, source)).collect()
    };
    let parameters = of(|source| matches!(source, Source::Parameter(_)));
    let secrets = of(|source| matches!(source, Source::Secret(_)));
    [
        (parameters, "ssm", "GetParameter", "PARAMETER_ARN"),
        (secrets, "secretsmanager", "GetSecretValue", "SecretARN"),
    ]
    .into_iter()
    .filter(|(resources, ..)| !resources.is_empty())
    .flat_map(|(resources, service, action, context)| {
        [
            json!({"Effect": "Allow", "Action": format!("{service}:{action}"), "Resource": resources}),
            json!({
                "Effect": "Allow",
                "Action": "kms:Decrypt",
                // The key of another account's secret is in that account.
                "Resource": format!("arn:{}:kms:{}:*:key/*", place.partition, place.region),
                "Condition": {
                    "StringEquals": {"kms:ViaService": format!("{service}.{}.{}", place.region, domain(place.partition))},
                    "StringLike": {format!("kms:EncryptionContext:{context}"): resources},
                },
            }),
        ]
    })
    .collect()
}

/// The end of a service's name in `kms:ViaService`.
fn domain(partition: &str) -> &'static str {
    match partition {
        "aws-cn" => "amazonaws.com.cn",
        "aws-eusc" => "amazonaws.eu",
        _ => "amazonaws.com",
    }
}

/// The ARNs of the sources that a role's policy allows to read. Statements of its other parameters have one ARN, not a list.
pub fn granted(policy: Option<&Document>) -> BTreeSet<String> {
    let policy = policy.and_then(|policy| serde_json::from_str::<Value>(policy.as_str()).ok()).unwrap_or_default();
    let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
    let reads = |statement: &Value| {
        ["ssm:GetParameter", "secretsmanager:GetSecretValue"].iter().any(|action| statement["Action"] == *action)
    };
    let resources = statements.iter().filter(|one| reads(one)).filter_map(|one| one["Resource"].as_array());
    resources.flatten().filter_map(|arn| arn.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { partition: "aws", account: "123456789012", region: "eu-west-1" };
    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:theirs-AbCd12";

    fn sources() -> BTreeSet<Source> {
        let parameters = ["/shared/db", "plain"].map(|name| Source::Parameter(name.into()));
        let secrets = ["prod/db", ARN].map(|name| Source::Secret(name.into()));
        parameters.into_iter().chain(secrets).collect()
    }

    #[test]
    fn a_role_reads_exactly_its_references() {
        let made = statements(PLACE, &sources());
        let ssm = "arn:aws:ssm:eu-west-1:123456789012:parameter/";
        let parameters = json!([format!("{ssm}shared/db"), format!("{ssm}plain")]);
        let secrets = json!([ARN, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-??????"]);
        assert_eq!(made.len(), 4);
        assert_eq!((&made[0]["Action"], &made[0]["Resource"]), (&"ssm:GetParameter".into(), &parameters));
        assert_eq!((&made[2]["Action"], &made[2]["Resource"]), (&"secretsmanager:GetSecretValue".into(), &secrets));
        assert_eq!(made[1]["Condition"]["StringLike"]["kms:EncryptionContext:PARAMETER_ARN"], parameters);
        assert_eq!(made[1]["Condition"]["StringEquals"]["kms:ViaService"], "ssm.eu-west-1.amazonaws.com");
        assert_eq!(made[3]["Condition"]["StringLike"]["kms:EncryptionContext:SecretARN"], secrets);
        assert_eq!(made[3]["Condition"]["StringEquals"]["kms:ViaService"], "secretsmanager.eu-west-1.amazonaws.com");
        assert!(statements(PLACE, &BTreeSet::new()).is_empty());
        let one = BTreeSet::from([Source::Parameter("a".into())]);
        assert_eq!(statements(PLACE, &one).len(), 2);
    }

    #[test]
    fn what_a_role_may_read_is_found_in_its_policy() {
        let own = json!({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:::parameter/devopsctl/a/token"});
        let all = [vec![own], statements(PLACE, &sources())].concat();
        let policy = json!({"Statement": all});
        let found = granted(Some(&Document::from(&policy)));
        assert_eq!(found, sources().iter().map(|source| resource(PLACE, source)).collect());
        assert!(granted(None).is_empty() && granted(Some(&Document::read("{"))).is_empty());
        assert!(granted(Some(&Document::read(r#"{"Statement": {"Action": 7}}"#))).is_empty());
    }
}
