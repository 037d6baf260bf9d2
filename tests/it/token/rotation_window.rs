//! `set-token --grace`: two tokens for a while, then only the new one.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::Value;

use super::rotation::{Connection, Exchange};
use crate::console::{add_latency, aws};
use crate::http::{get, runtime};
use crate::project::{Project, until};

const BEFORE: u32 = 0;
const CHANGING: u32 = 1;
const BOTH: u32 = 2;
const ENDED: u32 = 3;
const DONE: u32 = 4;
/// Long enough for a new generation on a busy machine.
const GRACE: u64 = 20;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn json(project: &Project, line: &str) -> Value {
    serde_json::from_str(&project.run(line).stdout).unwrap()
}

fn json_of(ran: &crate::project::Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The document in SSM.
fn document(project: &Project) -> Value {
    let held = aws(project, async |aws| {
        aws.ssm.get_parameter().name("/devopsctl/hello/token").with_decryption(true).send().await.unwrap()
    });
    serde_json::from_str(held.parameter().unwrap().value().unwrap()).unwrap()
}

#[track_caller]
fn set(project: &Project, token: &str, more: &str) -> crate::project::Ran {
    project.run_with(&format!("set-token --sandbox --stdin {more}"), token).ok()
}

#[track_caller]
fn answers(url: &str, expected: &[(&str, u16)]) {
    for (token, status) in expected {
        assert_eq!(get(url, Some(token)).status, *status, "{token}");
    }
}

#[derive(Default)]
struct Load {
    phase: AtomicU32,
    /// The time until which the old token must be accepted, in seconds since 1970.
    until: AtomicU64,
    answered: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// Sends requests until the end, on kept and on new connections.
async fn client(load: Arc<Load>, address: String, token: String, old: bool, keep: bool) {
    let mut open: Option<Connection> = None;
    while load.phase.load(Ordering::SeqCst) != DONE {
        let began = load.phase.load(Ordering::SeqCst);
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => Connection::open(&address).await,
        };
        let wrong = match connection.ask("/", &token, !keep).await {
            Exchange::Answer(status, stays) => {
                load.answered.fetch_add(1, Ordering::SeqCst);
                let ended = load.phase.load(Ordering::SeqCst);
                let right = match (old, began) {
                    (true, ENDED | DONE) => status == 401,
                    (true, _) if now() < load.until.load(Ordering::SeqCst) => status == 200,
                    (false, BEFORE) if ended == BEFORE => status == 401,
                    (false, BOTH..) => status == 200,
                    _ => status == 200 || status == 401,
                };
                open = (keep && stays).then_some(connection);
                (!right).then(|| {
                    format!("{status} to the {} token, phase {began}-{ended}", if old { "old" } else { "new" })
                })
            }
            Exchange::Closed if connection.used => None,
            Exchange::Closed => Some("a new connection was closed unanswered".to_owned()),
            Exchange::Broken(how) => Some(how),
        };
        load.wrong.lock().unwrap().extend(wrong);
    }
}

fn more_answers(load: &Load) {
    let target = load.answered.load(Ordering::SeqCst) + 300;
    until(60, "requests are answered", || {
        (load.answered.load(Ordering::SeqCst) >= target || !load.wrong.lock().unwrap().is_empty()).then_some(())
    });
}

#[test]
#[ignore = "slow"]
fn both_tokens_count_during_the_window() {
    let project = Project::example();
    let url = project.up();
    let address = url.trim_start_matches("http://").to_owned();
    let (old, fresh) = (project.token(), "the-fresh-token");
    let load = Arc::new(Load::default());
    load.until.store(u64::MAX, Ordering::SeqCst);
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (is_old, keep) = (number % 4 < 2, number % 2 == 0);
            let token = if is_old { old.clone() } else { fresh.to_owned() };
            runtime().spawn(client(load.clone(), address.clone(), token, is_old, keep))
        })
        .collect();
    more_answers(&load);
    load.until.store(now() + GRACE, Ordering::SeqCst);
    load.phase.store(CHANGING, Ordering::SeqCst);
    let ran = set(&project, fresh, &format!("--grace {GRACE}s"));
    load.phase.store(BOTH, Ordering::SeqCst);
    let ran = ran.says("the app accepts the new token, and the previous one until ").says("from now");
    assert!(!ran.shown().contains(&old) && !ran.shown().contains(fresh), "{}", ran.shown());
    let end = document(&project)["previous_until"].as_u64().unwrap();
    load.until.store(end, Ordering::SeqCst);
    let status = json(&project, "status --sandbox --json");
    assert_eq!((&status["token"]["grace_until"], &status["healthy"]), (&end.into(), &true.into()), "{status}");
    let status = project.run("status --sandbox").ok().says("version 2; the previous one is valid until ");
    assert!(!status.shown().contains(&old) && !status.shown().contains(fresh));
    more_answers(&load);
    // From here on without a command: the window ends on its own.
    until(120, "the old token counts no longer", || {
        let status = json(&project, "status --sandbox --json");
        let over = status["token"]["grace_until"].is_null() && status["report"]["phase"] == "healthy";
        over.then_some(())
    });
    assert!(now() >= end, "it ended early");
    load.phase.store(ENDED, Ordering::SeqCst);
    more_answers(&load);
    load.phase.store(DONE, Ordering::SeqCst);
    for client in clients {
        runtime().block_on(client).unwrap();
    }
    let wrong = load.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{} wrong, for example {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    answers(&url, &[(fresh, 200), (&old, 401)]);
    let status = project.run("status --sandbox").ok().shown();
    assert!(status.contains("token      version 2\n"), "{status}");
}

#[test]
#[ignore = "slow"]
fn a_window_can_be_ended_and_survives_a_reboot() {
    let project = Project::example();
    project.run("set-token --sandbox --grace 0").ok().says("no token is set").says("nothing was changed");
    let url = project.up();
    let first = project.token();
    project.run("set-token --sandbox --grace 0").ok().says("no previous token is valid").says("nothing was changed");
    set(&project, &first, "--grace 1h").says("there is no previous one to keep").says("nothing was changed");
    let version = json(&project, "token --sandbox --json")["version"].clone();

    set(&project, "second-token", "--grace 1h").says("minutes from now");
    answers(&url, &[(&first, 200), ("second-token", 200)]);
    let end = document(&project)["previous_until"].clone();
    // The same token again keeps the window.
    let again = set(&project, "second-token", "--grace 2h --json").says("the previous one is valid until");
    let again = json_of(&again);
    assert_eq!((&again["changed"], &again["grace_until"]), (&false.into(), &end));
    assert_eq!(json(&project, "token --sandbox --json")["version"], version.as_i64().unwrap() + 1);

    // Another token with its own window: only the current token is kept.
    set(&project, "third-secret", "--grace 1h").says("the previous one until");
    answers(&url, &[(&first, 401), ("second-token", 200), ("third-secret", 200)]);
    reboot(&project);
    answers(&url, &[("second-token", 200), ("third-secret", 200)]);
    assert!(json(&project, "status --sandbox --json")["token"]["grace_until"].is_u64());

    // The window ends with the same token without --grace, with a new token, or with `--grace 0` only.
    set(&project, "third-secret", "").says("refuses the previous one");
    answers(&url, &[("second-token", 401), ("third-secret", 200)]);
    set(&project, "fourth-token", "--grace 1h");
    set(&project, "fifth-secret", "").says("the app accepts the new token and refuses the previous one");
    answers(&url, &[("third-secret", 401), ("fourth-token", 401), ("fifth-secret", 200)]);
    set(&project, "sixth-secret", "--grace 1h --no-wait")
        .says("the previous token stays valid until")
        .says("the app was not checked");
    let ended = project.run("set-token --sandbox --grace 0 --json").ok().says("refuses the previous one");
    let ended = json_of(&ended);
    assert_eq!((&ended["changed"], &ended["grace_until"]), (&true.into(), &Value::Null));
    answers(&url, &[("fifth-secret", 401), ("sixth-secret", 200)]);
    assert_eq!(project.token(), "sixth-secret");
    assert_eq!(document(&project)["previous"], Value::Null);
    assert_eq!(json(&project, "status --sandbox --json")["token"]["grace_until"], Value::Null);
}

/// Stops the machine and has `up` start it again.
fn reboot(project: &Project) {
    stop(project);
    project.run("up --sandbox").ok().says("is started, waiting");
}

fn stop(project: &Project) {
    aws(project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let id = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        aws.ec2.stop_instances().instance_ids(id).send().await.unwrap();
    });
}

#[test]
#[ignore = "slow"]
fn a_window_ends_while_the_machine_is_off() {
    let project = Project::example();
    let url = project.up();
    let old = project.token();
    set(&project, "the-fresh-token", "--grace 25s");
    stop(&project);
    let end = document(&project)["previous_until"].as_u64().unwrap();
    until(60, "the time is over", || (now() >= end).then_some(()));
    project.up();
    answers(&url, &[(&old, 401), ("the-fresh-token", 200)]);
    assert_eq!(json(&project, "status --sandbox --json")["token"]["grace_until"], Value::Null);
}

#[test]
#[ignore = "slow"]
fn a_window_shorter_than_the_change_is_waited_for() {
    let project = Project::example();
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    // Longer than the window, however fast the machine is.
    project.file("app/app.py", &format!("{app}\nimport time\n\ntime.sleep(2)\n"));
    let url = project.up();
    let old = project.token();
    set(&project, "the-fresh-token", "--grace 1s").says("refuses the previous one");
    answers(&url, &[(&old, 401), ("the-fresh-token", 200)]);
}

#[test]
#[ignore = "slow"]
fn an_app_without_support_for_the_old_token_is_reported() {
    let project = Project::example();
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &app.replace("(token, previous) if each", "(token,)"));
    let url = project.up();
    let old = project.token();
    set(&project, "the-fresh-token", "--grace 1h")
        .says("the app accepts the new token and refuses the previous one")
        .says("warning: the app ignores APP_SECRET_TOKEN_PREVIOUS");
    answers(&url, &[(&old, 401), ("the-fresh-token", 200)]);
}

#[test]
#[ignore = "slow"]
fn of_two_concurrent_changes_the_last_keeps_the_previous_token() {
    let project = Project::example();
    let url = project.up();
    let first = project.token();
    // Slow enough that both read before either writes.
    add_latency(&project, 400);
    std::thread::scope(|scope| {
        let both = ["token-of-alice", "token-of-bob"].map(|token| {
            let project = &project;
            scope.spawn(move || set(project, token, "--grace 1h"))
        });
        for one in both {
            one.join().unwrap();
        }
    });
    add_latency(&project, 0);
    let stands = document(&project);
    let (current, previous) = (stands["current"].as_str().unwrap(), stands["previous"].as_str().unwrap());
    assert_ne!(current, previous);
    assert!(current.starts_with("token-of-") && previous.starts_with("token-of-"), "{current}, {previous}");
    until(60, "both answer and no other does", || {
        let status = |token: &str| get(&url, Some(token)).status;
        ((status(current), status(previous), status(&first)) == (200, 200, 401)).then_some(())
    });
}

#[test]
#[ignore = "slow"]
fn an_unannounced_token_does_not_replace_the_one_in_use() {
    let project = Project::example();
    let url = project.up();
    let first = project.token();
    // The state after a run that was killed between the two calls.
    let stored = serde_json::json!({"current": "nobody-knows-it", "previous": first, "previous_until": now() + 3600});
    aws(&project, async |aws| {
        let put = aws.ssm.put_parameter().name("/devopsctl/hello/token").value(stored.to_string()).overwrite(true);
        put.send().await.unwrap();
    });
    set(&project, "the-fresh-token", "--grace 1h").says("the previous one until");
    answers(&url, &[(&first, 200), ("the-fresh-token", 200), ("nobody-knows-it", 401)]);
    // The same command again after it was killed: it updates the tag, and starts no new window.
    let end = now() + 1800;
    let stored =
        serde_json::json!({"current": "another-fresh-one", "previous": "the-fresh-token", "previous_until": end});
    aws(&project, async |aws| {
        let put = aws.ssm.put_parameter().name("/devopsctl/hello/token").value(stored.to_string()).overwrite(true);
        put.send().await.unwrap();
    });
    let ran = set(&project, "another-fresh-one", "--grace 1h --json").says("the previous one until");
    assert_eq!(json_of(&ran)["grace_until"], end);
    answers(&url, &[(&first, 401), ("the-fresh-token", 200), ("another-fresh-one", 200)]);
}

#[test]
fn an_invalid_window_is_refused_before_any_call() {
    let project = Project::alone().with_example();
    for (time, why) in
        [("8d", "at most 7 days"), ("10", "write it as"), ("soon", "write it as"), ("-1s", "write it as")]
    {
        project.run(&format!("set-token --sandbox --generate --grace={time}")).code(2).says(why);
    }
    assert!(project.processes().is_empty());
}
