//! Reports of other versions' agents, and reports without a successor.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_report_is_understood_as_far_as_it_is_known() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../tests/orders/reports.json")).unwrap();
    for case in cases {
        let (name, understood) = (&case["name"], &case["understood"]);
        let report: Report = serde_json::from_value(case["report"].clone()).unwrap();
        let said = serde_json::to_value(&report).unwrap();
        assert_eq!((&said["phase"], &said["release"]), (&understood["phase"], &understood["release"]), "{name}");
        assert_eq!(!matches!(report.phase, Phase::Other(_)), understood["known_phase"], "{name}");
        assert_eq!(said["error_code"], case["report"]["error_code"], "{name}");
        assert_eq!(said["schedule"], case["report"]["schedule"], "{name}");
        assert_eq!(said["edge"]["phase"], understood["proxy_phase"], "{name}");
        let processes: Vec<&String> = report.processes.keys().collect();
        assert_eq!(json!(processes), understood.get("processes").cloned().unwrap_or_else(|| json!([])), "{name}");
        let release = report.orders.release.as_deref().unwrap_or_default();
        assert_eq!(report.blames_release(release), understood["blames_release"], "{name}");
        assert!(!report.blames_release(&"f".repeat(64)), "{name}");
        assert_eq!(report.misses_release(), understood["misses_release"], "{name}");
        assert_eq!(report.blames_proxy(), understood["blames_proxy"], "{name}");
    }
}

#[test]
fn a_process_with_a_name_that_none_can_have_does_not_count() {
    let said = json!({"processes": {"worker": {}, "app": {}, "../x": {}, "UPPER": {}, "": {}}});
    let report: Report = serde_json::from_value(said).unwrap();
    assert_eq!(report.logs().collect::<Vec<_>>(), ["web", "worker"]);
}

#[test]
fn a_report_without_a_successor_becomes_stale() {
    let report = |next_at| Report { at: 1000, next_at, ..Report::default() };
    assert!(!report(Some(1300)).is_stale(1900) && report(Some(1300)).is_stale(1901));
    assert!(!report(None).is_stale(i64::MAX) && !report(Some(i64::MAX)).is_stale(i64::MAX));
    let ahead = Report { at: 90_000, taken: Some(1000), ..report(Some(90_300)) };
    assert!(!ahead.is_stale(1900) && ahead.is_stale(1901), "the instance's clock is a day ahead");
}
