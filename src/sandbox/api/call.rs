//! What the API reads from a call: service, action, caller, and whether it changes anything.

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

/// One call to the emulator.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub service: String,
    pub region: String,
    /// The id of the access key. It is not a secret.
    pub key: String,
    pub action: String,
}

impl Call {
    /// Reads a call from its head. In the query protocol the action is in the body.
    pub fn new(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        let signed = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scope = signed.split_once("Credential=").map_or("", |(_, scope)| scope);
        let scope = scope.split(',').next().unwrap_or_default();
        let mut fields = scope.split('/');
        let key = fields.next().unwrap_or_default().to_owned();
        let region = fields.nth(1).unwrap_or_default().to_owned();
        let service = fields.next().unwrap_or_default().to_owned();
        let action = match service.as_str() {
            "s3" => s3_action(&parts.method, parts.uri.path(), query),
            "route53" => route53_action(&parts.method, parts.uri.path()),
            _ => String::new(),
        };
        Self { service, region, key, action }
    }

    /// Reads the action from the headers or the body.
    pub fn read(&mut self, headers: &HeaderMap, body: &[u8]) {
        if !self.action.is_empty() {
            return;
        }
        let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        self.action = match target.and_then(|target| target.rsplit_once('.')) {
            Some((_, action)) => action.to_owned(),
            None => parameter(&String::from_utf8_lossy(body), "Action").unwrap_or_default(),
        };
    }

    /// Whether the command line makes the call. Machines use temporary keys.
    pub fn is_from_user(&self) -> bool {
        !self.key.starts_with("ASIA")
    }

    /// Whether it can change instances or their resources.
    pub fn is_change(&self) -> bool {
        let reads = ["Describe", "Get", "List", "Head"].iter().any(|verb| self.action.starts_with(verb));
        matches!(self.service.as_str(), "ec2" | "iam") && !reads
    }
}

/// A parameter of a form.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// The S3 operation, such as `PutBucketPolicy`. Some operations look the same; this is the most common one.
fn s3_action(method: &Method, path: &str, query: &str) -> String {
    let key = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let bucket = !path.trim_start_matches('/').is_empty();
    let verb = match *method {
        Method::GET => "Get",
        Method::HEAD => "Head",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        _ => "Post",
    };
    let first = query.split(['&', '=']).next().unwrap_or_default();
    let of_bucket = |what: &str| format!("{verb}Bucket{what}");
    match (verb, first) {
        ("Post", "delete") => "DeleteObjects".into(),
        ("Post", "uploads") => "CreateMultipartUpload".into(),
        ("Get", "list-type") => "ListObjectsV2".into(),
        ("Get", "versions") => "ListObjectVersions".into(),
        (_, "policy") => of_bucket("Policy"),
        (_, "tagging") if !key => of_bucket("Tagging"),
        (_, "encryption") => of_bucket("Encryption"),
        (_, "versioning") => of_bucket("Versioning"),
        (_, "lifecycle") => of_bucket("LifecycleConfiguration"),
        (_, "location") => of_bucket("Location"),
        (_, "ownershipControls") => of_bucket("OwnershipControls"),
        (_, "publicAccessBlock") => format!("{verb}PublicAccessBlock"),
        ("Put", _) if !key => "CreateBucket".into(),
        ("Get", _) if !bucket => "ListBuckets".into(),
        ("Get", _) if !key => "ListObjects".into(),
        _ => format!("{verb}{}", if key { "Object" } else { "Bucket" }),
    }
}

/// The Route 53 operation if the command line uses it, else the method and path.
fn route53_action(method: &Method, path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.get(1).copied().unwrap_or_default(), parts.get(3).copied()) {
        (&Method::GET, "hostedzonesbyname", _) => "ListHostedZonesByName".into(),
        (&Method::GET, "hostedzone", Some("rrset")) => "ListResourceRecordSets".into(),
        (&Method::POST, "hostedzone", Some("rrset")) => "ChangeResourceRecordSets".into(),
        _ => format!("{method} {path}"),
    }
}

/// The code of an error body, in XML or JSON.
pub fn error_code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let between = |from: &str, to: &str| Some(text.split_once(from)?.1.split_once(to)?.0.to_owned());
    let code =
        between("<Code>", "</Code>").or_else(|| between("\"__type\":\"", "\"").or(between("\"__type\": \"", "\"")));
    code.map(|code| code.rsplit('#').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn call(method: &str, uri: &str, scope: &str, body: &str) -> Call {
        let request = Request::builder().method(method).uri(uri);
        let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00");
        let (parts, ()) = request.header("authorization", signature).body(()).unwrap().into_parts();
        let mut call = Call::new(&parts);
        if call.service != "s3" {
            call.read(&parts.headers, body.as_bytes());
        }
        call
    }

    #[test]
    fn the_action_of_a_query_call_is_in_its_body() {
        let call = call("POST", "/", "AKIA1/20260101/eu-west-1/ec2/aws4_request", "Action=RunInstances&Version=1");
        assert_eq!((call.service.as_str(), call.region.as_str()), ("ec2", "eu-west-1"));
        assert_eq!((call.action.as_str(), call.key.as_str()), ("RunInstances", "AKIA1"));
        assert!(call.is_change() && call.is_from_user());
    }

    #[test]
    fn reads_and_other_services_change_no_machine() {
        let scope = |service: &str| format!("ASIA1/20260101/eu-west-1/{service}/aws4_request");
        assert!(!call("POST", "/", &scope("ec2"), "Version=1&Action=DescribeInstances").is_change());
        assert!(!call("PUT", "/bucket/key", &scope("s3"), "").is_change());
        assert!(!call("PUT", "/bucket/key", &scope("s3"), "").is_from_user());
    }

    #[test]
    fn s3_operations_are_recognized() {
        let name = |method: &str, uri: &str| call(method, uri, "A/1/r/s3/aws4_request", "").action;
        assert_eq!(name("PUT", "/bucket"), "CreateBucket");
        assert_eq!(name("PUT", "/bucket/"), "CreateBucket");
        assert_eq!(name("PUT", "/bucket?policy"), "PutBucketPolicy");
        assert_eq!(name("DELETE", "/bucket?policy="), "DeleteBucketPolicy");
        assert_eq!(name("PUT", "/bucket/a/b?x-id=PutObject"), "PutObject");
        assert_eq!(name("GET", "/bucket?list-type=2&prefix=a"), "ListObjectsV2");
        assert_eq!(name("POST", "/bucket?delete"), "DeleteObjects");
        assert_eq!(name("GET", "/"), "ListBuckets");
        assert_eq!(name("HEAD", "/bucket"), "HeadBucket");
        assert_eq!(name("HEAD", "/bucket/a"), "HeadObject");
    }

    #[test]
    fn route_53_operations_are_recognized() {
        let name = |method: &str, uri: &str| call(method, uri, "A/1/us-east-1/route53/aws4_request", "<x/>").action;
        assert_eq!(name("GET", "/2013-04-01/hostedzonesbyname?dnsname=a.b"), "ListHostedZonesByName");
        assert_eq!(name("GET", "/2013-04-01/hostedzone/Z1/rrset?name=a.b"), "ListResourceRecordSets");
        assert_eq!(name("POST", "/2013-04-01/hostedzone/Z1/rrset"), "ChangeResourceRecordSets");
        assert_eq!(name("POST", "/2013-04-01/hostedzone"), "POST /2013-04-01/hostedzone");
    }

    #[test]
    fn error_codes_are_read_from_xml_and_json() {
        assert_eq!(error_code(b"<Error><Code>NoSuchKey</Code></Error>").as_deref(), Some("NoSuchKey"));
        let json = br#"{"__type": "com.amazonaws.ssm#ParameterNotFound", "message": ""}"#;
        assert_eq!(error_code(json).as_deref(), Some("ParameterNotFound"));
        assert_eq!(error_code(b""), None);
    }
}
