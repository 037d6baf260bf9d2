//! `--json`: one document with the command's schema on stdout, also for a failure.

use devopsctl::commands::documents as shapes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::project::{Project, Ran};

/// Parses the output as the command's document. Serialized again it must be the same, so it has no unknown field.
#[track_caller]
fn read<T: DeserializeOwned + Serialize>(ran: &Ran) -> T {
    let shown = ran.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {}", ran.stdout));
    assert!(!shown.contains('\n'), "one line is one document: {shown}");
    let value: Value = serde_json::from_str(shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let document: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert_eq!(serde_json::to_value(&document).unwrap(), value);
    document
}

#[test]
#[ignore = "slow"]
fn every_command_prints_one_document_and_only_two_show_a_secret() {
    let project = Project::alone().with_example();
    let (mut printed, runs) = (Vec::new(), |line: &str, code: i32| project.run(line).code(code));
    let mut say = |ran: Ran| {
        printed.push(ran.stdout.clone() + &ran.stderr);
        ran
    };

    assert_eq!(read::<shapes::SandboxStatus>(&say(runs("sandbox status --json", 1))).sandbox.map(|_| ()), None);
    let begun = read::<shapes::SandboxStart>(&say(runs("sandbox start --json", 0)));
    assert!(begun.endpoint.starts_with("http://127.0.0.1:"));
    assert!(read::<shapes::Plan>(&say(runs("plan --sandbox --json", 3))).changes);
    let up = read::<shapes::Up>(&say(runs("up --sandbox --json", 0)));
    assert!(up.changed);
    assert!(!read::<shapes::Up>(&say(runs("up --sandbox --json", 0))).changed);
    assert!(!read::<shapes::Plan>(&say(runs("plan --sandbox --json", 0))).changes);
    project.file(".env", "DATABASE_URL=a-horse-and-a-battery\n");
    let imported = read::<shapes::SecretsChanged>(&say(runs("secrets import .env --sandbox --json", 0)));
    assert_eq!((imported.used, &imported.secrets[..]), (true, &["DATABASE_URL".to_owned()][..]));
    assert_eq!(read::<shapes::Secrets>(&say(runs("secrets list --sandbox --json", 0))).secrets[0].version, Some(1));
    let set = "secrets set --sandbox --generate SESSION_KEY --json";
    assert!(read::<shapes::SecretsChanged>(&say(runs(set, 0))).changed);
    let status = read::<shapes::Status>(&say(runs("status --sandbox --json", 0)));
    assert!(status.healthy && status.url == up.url);
    assert_eq!(Some(read::<shapes::Open>(&say(runs("open --sandbox --json", 0))).url), up.url);
    assert_eq!(read::<shapes::Costs>(&say(runs("cost --sandbox --json", 0))).cost.month, status.cost.month);
    assert!(read::<shapes::Doctor>(&say(runs("doctor --sandbox --json", 0))).ready);
    assert_eq!(read::<shapes::List>(&say(runs("list --sandbox --json", 0))).deployments[0].url, up.url);
    assert!(read::<shapes::SetToken>(&say(runs("set-token --sandbox --generate --json", 0))).changed);

    let set = read::<shapes::SecretsChanged>(&say(runs("secrets set --sandbox --generate KEY --json", 0)));
    assert!(set.changed && set.used && set.secrets == ["KEY"]);
    let status = read::<shapes::Status>(&say(runs("status --sandbox --json", 0)));
    assert_eq!(Some(status.secrets.stored), status.secrets.running);
    assert!(read::<shapes::SecretsChanged>(&say(runs("secrets unset --sandbox KEY --json", 0))).changed);

    project.file("app/other.py", "# Another release.\n");
    read::<shapes::Up>(&say(runs("up --sandbox --json", 0)));
    let back = read::<shapes::Rollback>(&say(runs("rollback --sandbox --json", 0)));
    assert!(back.changed && Some(&back.release) == status.release.running.as_ref());
    let releases = read::<shapes::Releases>(&say(runs("releases --sandbox --json", 0))).releases;
    assert!(releases.iter().any(|release| release.runs && release.id == back.release));

    // The agent's log, because an app may print nothing.
    let logs = say(runs("logs --sandbox --agent --json", 0)).stdout;
    assert!(logs.lines().count() > 0);
    for line in logs.lines() {
        serde_json::from_str::<shapes::LogLine>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(read::<shapes::SandboxStatus>(&say(runs("sandbox status --json", 0))).sandbox.is_some());
    assert!(!read::<shapes::SandboxLogs>(&say(runs("sandbox logs --json", 0))).files.is_empty());

    let secrets = ["DATABASE_URL", "SESSION_KEY"]
        .map(|name| read::<shapes::Secret>(&runs(&format!("secrets get {name} --sandbox --json"), 0)).value);
    assert_eq!(secrets[0], "a-horse-and-a-battery");
    assert!(read::<shapes::SecretsChanged>(&say(runs("secrets unset SESSION_KEY --sandbox --json", 0))).changed);
    let token = read::<shapes::Token>(&runs("token --sandbox --json", 0)).token;
    assert!(read::<shapes::Down>(&say(runs("down --sandbox --yes --json", 0))).changed);
    assert!(read::<shapes::SandboxStop>(&say(runs("sandbox stop --json", 0))).stopped);
    for secret in secrets.iter().chain([&token]) {
        assert!(printed.iter().all(|text| !text.contains(secret)));
    }
}

#[test]
fn a_failure_is_a_document_too() {
    let project = Project::alone();
    project.file("deploy.yaml", "name: hello\nportt: 80\n");
    let ran = project.run("status --sandbox --json").code(2).says("portt");
    let shapes::Problem { exit, findings, .. } = read::<shapes::Error>(&ran).error;
    assert_eq!(exit, 2);
    assert!(findings.iter().any(|finding| finding.at == "name: hello\n".len()), "{findings:?}");

    let project = Project::alone().with_example();
    let ran = project.run("open --sandbox --json").code(1).says("no instance of hello is running");
    let shapes::Problem { exit, what, next, .. } = read::<shapes::Error>(&ran).error;
    assert_eq!((exit, what.as_str()), (1, "no instance of hello is running"));
    assert!(next.unwrap().contains("devopsctl up --sandbox"));
}
