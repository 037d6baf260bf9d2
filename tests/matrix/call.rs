//! The service and the action of a request, read from the request only.

use devopsctl::base::digest::sha256;

use crate::wire::Message;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Such as `ec2:RunInstances`. S3 requests have no name: `s3:PUT bucket?policy`.
    pub action: String,
    /// Whether its response has no body.
    pub head_only: bool,
    /// Distinguishes a retry from another call of the same action: the path and the body's SHA-256.
    pub content: String,
}

/// The format of a service's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Ec2,
    Query,
    Json,
    S3,
}

impl Call {
    /// Reads a request.
    pub fn of(request: &Message) -> Self {
        let line = request.first_line();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let signed = request.header("authorization").unwrap_or_default();
        let scope = signed.split_once("Credential=").map_or("", |(_, scope)| scope);
        let service = scope.split('/').nth(3).unwrap_or("unsigned").to_owned();
        let name = match request.header("x-amz-target") {
            Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
            None if service == "s3" => s3(method, target),
            None if service == "route53" => route53(method, target),
            None => {
                let form = String::from_utf8_lossy(&request.body);
                form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned()
            }
        };
        let head_only = method == "HEAD";
        let content = format!("{target} {}", sha256(&request.body));
        Self { action: format!("{service}:{name}"), head_only, content }
    }

    /// Whether it changes anything in AWS.
    pub fn changes(&self) -> bool {
        let (_, name) = self.action.split_once(':').unwrap_or_default();
        !["Describe", "Get", "List", "GET ", "HEAD "].iter().any(|verb| name.starts_with(verb))
    }

    /// The format of its service's errors.
    pub fn dialect(&self) -> Dialect {
        match self.action.split(':').next() {
            Some("ec2") => Dialect::Ec2,
            Some("ssm" | "secretsmanager") => Dialect::Json,
            Some("s3") => Dialect::S3,
            _ => Dialect::Query,
        }
    }
}

/// The action by method and path.
fn route53(method: &str, target: &str) -> String {
    let name = match (method, target) {
        ("GET", target) if target.contains("/hostedzonesbyname") => "ListHostedZonesByName",
        ("GET", target) if target.contains("/rrset") => "ListResourceRecordSets",
        ("POST", target) if target.contains("/rrset") => "ChangeResourceRecordSets",
        _ => target,
    };
    name.to_owned()
}

/// The method, bucket or object, and the subresource.
fn s3(method: &str, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let object = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let first = query.split(['&', '=']).next().unwrap_or_default();
    let what = if object { "object" } else { "bucket" };
    // The SDK adds `x-id`, which has no meaning.
    if first.is_empty() || first == "x-id" { format!("{method} {what}") } else { format!("{method} {what}?{first}") }
}
