//! `app.permissions`: the policies of the app's role in AWS. Mistakes that AWS would refuse later are found before any call.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::check;
use super::reader::{Found, Reader, Wrong};

/// The maximum length of all inline policies of a role, without white space:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LARGEST: usize = 10_240;
/// The maximum length of the file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// The version of the policy language. An older one has no policy variables.
const VERSION: &str = "2012-10-17";

/// The permissions of the app in AWS.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// The policy in a file.
    pub policy: Option<PolicyFile>,
    /// The ARNs of managed policies.
    pub managed: BTreeSet<String>,
}

/// A file with an IAM policy.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// The file, as `deploy.yaml` names it.
    pub file: PathBuf,
    /// The policy.
    pub document: Value,
}

/// Reads `app.permissions`: a text that begins like an ARN names a managed policy, and any other a file.
pub(super) fn section(reader: &mut Reader, found: Option<Found>, folder: &Path) -> Option<Permissions> {
    let place = found.as_ref().map(|found| found.node.span);
    let given = reader.texts(found, |text| match is_arn(text) {
        true => check::managed_policy(text),
        false => policy(folder, text).map(|_| ()),
    });
    let (managed, files): (Vec<String>, Vec<String>) = given.into_iter().partition(|text| is_arn(text));
    if let (Some(place), [first, _, ..]) = (place, &files[..]) {
        let hint = format!("write one policy with all statements, for example in {first}");
        reader.find(place, "`app.permissions` names several files", "here", hint);
    }
    let file = files.into_iter().next();
    let policy = file.and_then(|file| Some(PolicyFile { document: policy(folder, &file).ok()?, file: file.into() }));
    let managed: BTreeSet<String> = managed.into_iter().collect();
    (policy.is_some() || !managed.is_empty()).then_some(Permissions { policy, managed })
}

fn is_arn(text: &str) -> bool {
    text.starts_with("arn:")
}

/// The policy in a file.
fn policy(folder: &Path, name: &str) -> Result<Value, Wrong> {
    let hint = "name a file with an IAM policy in JSON, relative to this one, or ARNs of managed policies";
    let mut text = String::new();
    let read = File::open(folder.join(name)).and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text));
    read.map_err(|error| Wrong::new(format!("names a file that cannot be read: {error}"), hint))?;
    let document: Value =
        serde_json::from_str(&text).map_err(|error| wrong(&format!("it is not JSON: {error}"), hint))?;
    check_document(&document)?;
    Ok(document)
}

fn wrong(what: &str, hint: &str) -> Wrong {
    Wrong::new(format!("names a file that is no policy: {what}"), hint)
}

fn check_document(document: &Value) -> Result<(), Wrong> {
    let empty = Map::new();
    let top = document.as_object().unwrap_or(&empty);
    if top.get("Version").and_then(Value::as_str) != Some(VERSION) {
        return Err(wrong("it has another Version", &format!("write \"Version\": \"{VERSION}\" in it")));
    }
    let statements = match top.get("Statement") {
        Some(Value::Array(statements)) => &statements[..],
        Some(statement) => std::slice::from_ref(statement),
        None => &[],
    };
    if statements.is_empty() {
        return Err(wrong("it has no Statement", "write \"Statement\": [{\"Effect\": \"Allow\", …}] in it"));
    }
    for (number, statement) in statements.iter().enumerate() {
        check_statement(statement).map_err(|what| {
            wrong(&format!("statement {} {what}", number + 1), "a statement needs Effect, Action and Resource")
        })?;
    }
    let length = document.to_string().chars().filter(|c| !c.is_whitespace()).count();
    if length > LARGEST {
        let hint = "use wildcards, or move statements into a managed policy and list its ARN";
        return Err(wrong(&format!("it has {length} characters, and AWS allows {LARGEST}"), hint));
    }
    Ok(())
}

fn check_statement(statement: &Value) -> Result<(), String> {
    let has = |key: &str| statement.get(key).is_some();
    if ["Principal", "NotPrincipal"].into_iter().any(has) {
        return Err("has a Principal, which is always the app's role here".to_owned());
    }
    if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err("has no Effect \"Allow\" or \"Deny\"".to_owned());
    }
    for (key, other) in [("Action", "NotAction"), ("Resource", "NotResource")] {
        if has(key) == has(other) {
            return Err(format!("needs either {key} or {other}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(document: &Value) -> Result<(), String> {
        check_document(document).map_err(|wrong| wrong.what)
    }

    fn statement(more: &Value) -> Value {
        let mut statement = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"});
        statement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Version": VERSION, "Statement": [statement]})
    }

    #[test]
    fn policies_are_checked() {
        assert_eq!(checked(&statement(&json!({}))), Ok(()));
        assert_eq!(checked(&json!({"Version": VERSION, "Statement": statement(&json!({}))["Statement"][0]})), Ok(()));
        let cases = [
            (json!([]), "Version"),
            (json!({"Statement": []}), "Version"),
            (json!({"Version": "2008-10-17", "Statement": []}), "Version"),
            (json!({"Version": VERSION}), "no Statement"),
            (json!({"Version": VERSION, "Statement": []}), "no Statement"),
            (json!({"Version": VERSION, "Statement": ["x"]}), "statement 1 has no Effect"),
            (statement(&json!({"Effect": "allow"})), "has no Effect"),
            (statement(&json!({"Principal": "*"})), "has a Principal"),
            (statement(&json!({"NotPrincipal": "*"})), "has a Principal"),
            (statement(&json!({"NotAction": "*"})), "either Action or NotAction"),
            (statement(&json!({"NotResource": "*"})), "either Resource or NotResource"),
            (statement(&json!({"Resource": "x".repeat(LARGEST)})), "characters, and AWS allows 10240"),
        ];
        for (document, what) in cases {
            assert!(checked(&document).unwrap_err().contains(what), "{what}");
        }
    }

    /// AWS does not count it.
    #[test]
    fn white_space_does_not_count() {
        let sid = |length: usize| checked(&statement(&json!({"Sid": " ".repeat(length)})));
        assert_eq!(sid(LARGEST), Ok(()));
    }

    #[test]
    fn files_and_arns_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("policy.json", &statement(&json!({})).to_string());
        write("other.json", &statement(&json!({})).to_string());
        write("broken.json", "{");
        let parse = |permissions: &str| {
            let text = format!("name: hello\napp: {{path: ., permissions: {permissions}}}\n");
            crate::config::parse(&text, Path::new("deploy.yaml"), folder.path())
        };
        let permissions = |text: &str| parse(text).unwrap().app.permissions;
        let arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
        let found = permissions("policy.json").unwrap();
        assert_eq!(found.policy.unwrap().file, Path::new("policy.json"));
        assert!(found.managed.is_empty() && permissions("[]").is_none() && permissions("").is_none());
        assert_eq!(permissions(arn).unwrap().managed, BTreeSet::from([arn.to_owned()]));
        let both = permissions(&format!("[policy.json, '{arn}']")).unwrap();
        assert!(both.policy.is_some() && both.managed.len() == 1);
        for (text, what) in [
            ("missing.json", "names a file that cannot be read"),
            ("broken.json", "it is not JSON"),
            ("[policy.json, other.json]", "names several files"),
            ("arn:aws:s3:::bucket", "is not the ARN"),
            ("{a: b}", "must be text"),
        ] {
            let failure = parse(text).unwrap_err();
            let findings: Vec<_> = failure.findings_in_file().iter().map(ToString::to_string).collect();
            assert!(findings.concat().contains(what), "{text}: {findings:?}");
        }
    }
}
