use super::*;

fn orders(release: &str) -> Orders {
    Orders { release: Some(release.into()), token: Some(2), ..Orders::default() }
}

fn report(phase: Phase, release: &str, token: i64, healthy: bool) -> Report {
    Report {
        orders: orders("new"),
        release: Some(release.into()),
        token: Some(token),
        phase,
        healthy,
        at: 100,
        ..Report::default()
    }
}

fn goal() -> Goal {
    Goal {
        references: None,
        release: Some("new".into()),
        token: 2,
        secrets: Vec::new(),
        again: None,
        alone: false,
        proxy: Need::Nothing,
        data: false,
        since: 100,
    }
}

#[test]
fn the_goal_is_the_ordered_release_with_the_ordered_token() {
    assert!(goal().reached(&report(Phase::Healthy, "new", 2, true)));
    assert!(goal().reached(&report(Phase::Healthy, "new", 3, true)));
    assert!(!goal().reached(&report(Phase::Healthy, "old", 2, true)));
    assert!(!goal().reached(&report(Phase::Healthy, "new", 1, true)));
    assert!(!goal().reached(&report(Phase::Starting, "new", 2, true)));
    assert!(!goal().reached(&report(Phase::Healthy, "new", 2, false)));
    let before = Report { at: 99, ..report(Phase::Healthy, "new", 2, true) };
    assert!(!goal().reached(&before), "the report is from before the last start");
    let stale = Report { next_at: Some(400), ..report(Phase::Healthy, "new", 2, true) };
    assert!(!goal().reached(&stale), "the state of the app is unknown");
}

#[test]
fn ordered_versions_of_references_must_be_answered_whatever_they_are() {
    let goal = Goal { references: Some("1".repeat(16)), ..goal() };
    let answers = |references: Option<&str>| {
        let mut report = report(Phase::Healthy, "new", 2, true);
        report.orders = Orders {
            release: Some("new".into()),
            token: Some(2),
            references: references.map(str::to_owned),
            ..Orders::default()
        };
        (goal.reached(&report), goal.stage(&report) == Stage::Unseen)
    };
    assert_eq!(answers(Some(&"1".repeat(16))), (true, false));
    assert_eq!(answers(Some(&"2".repeat(16))), (false, true));
    assert_eq!(answers(None), (false, true));
}

#[test]
fn without_a_grace_period_the_previous_token_must_not_count() {
    let both = Report { grace_until: Some(200), ..report(Phase::Healthy, "new", 2, true) };
    assert!(goal().reached(&both));
    let alone = Goal { alone: true, ..goal() };
    assert!(!alone.reached(&both));
    assert!(alone.reached(&report(Phase::Healthy, "new", 2, true)));
}

#[test]
fn an_instance_at_rest_may_not_have_seen_its_orders() {
    let mut before = report(Phase::Healthy, "old", 1, true);
    assert_eq!(goal().stage(&before), Stage::At(Phase::Healthy));
    before.orders.token = Some(1);
    assert_eq!(goal().stage(&before), Stage::Unseen);
    assert_eq!(goal().stage(&Report { phase: Phase::Failed, ..before.clone() }), Stage::Unseen);
    assert_eq!(goal().stage(&Report { phase: Phase::Starting, ..before }), Stage::At(Phase::Starting));
}

#[test]
fn a_failure_with_other_orders_does_not_count() {
    assert!(goal().failed(&report(Phase::Failed, "old", 1, true)));
    let mut earlier = report(Phase::Failed, "old", 1, true);
    earlier.orders.token = Some(1);
    assert!(!goal().failed(&earlier));
    earlier.orders = orders("other");
    assert!(!goal().failed(&earlier));
    let again = Goal { again: Some("x".into()), ..goal() };
    assert!(!again.failed(&report(Phase::Failed, "old", 1, true)));
}

fn sandbox() -> Aws {
    let keys = serde_json::json!({"access_key": "A", "secret_key": "S"});
    let handle = serde_json::json!({
        "version": "", "pid": 1, "endpoint": "http://127.0.0.1:1", "access_key": "A", "secret_key": "S",
        "administrator": keys, "account": "1", "machines": "process", "pythons": [], "control": "",
    });
    Aws::sandbox(&crate::aws::Settings::default(), serde_json::from_value(handle).unwrap())
}

#[test]
fn the_last_reported_error_says_why_it_is_stuck() {
    let aws = sandbox();
    let sink =
        crate::ui::Ui::new(crate::ui::Style { quiet: true, verbose: false }, crate::ui::Invocation::new(String::new()));
    let watch = Watch { aws: &aws, name: "hello", timeout: 30, release_timeout: None, sink: sink.sink_ref() };
    let why = |error: Option<&str>| {
        let failure = stuck(&watch, "i-1", &Stage::At(Phase::Fetching), error.map(str::to_owned), PHASE);
        failure.reasons()[0].to_owned()
    };
    assert_eq!(why(Some("s3:GetObject was refused")), "s3:GetObject was refused");
    assert!(why(None).contains("no route to the internet"));
}

#[test]
fn commands_may_take_as_long_as_deploy_yaml_allows() {
    let sink =
        crate::ui::Ui::new(crate::ui::Style { quiet: true, verbose: false }, crate::ui::Invocation::new(String::new()));
    let aws = sandbox();
    let watch = Watch { aws: &aws, name: "hello", timeout: 30, release_timeout: Some(600), sink: sink.sink_ref() };
    let patience = |phase| watch.patience(&Stage::At(phase));
    assert_eq!(patience(Phase::Releasing), PHASE + Duration::from_secs(600));
    assert_eq!(patience(Phase::Starting), PHASE + Duration::from_secs(30));
}

#[test]
fn for_a_new_token_the_release_in_the_orders_counts() {
    let goal = Goal { release: None, ..goal() };
    assert!(goal.reached(&report(Phase::Healthy, "new", 2, true)));
    assert!(!goal.reached(&report(Phase::Healthy, "old", 2, true)));
}
