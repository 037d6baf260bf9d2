//! Dash, whose WSGI app is `app.server`: its page asks for a layout, and calls back for each input.

use serde_json::json;

use super::{deployed, rotate};
use crate::project::Project;

#[test]
#[ignore = "slow"]
fn a_dashboard_calls_back() {
    let project = Project::empty().with_app("dashboard");
    let mut browser = deployed(&project, &[]);
    let page = browser.open("/").ok().says("<title>Sales</title>").body;
    browser.open("/_dash-layout").ok().says("\"region\"");
    browser.open("/assets/style.css").ok().says("steelblue");
    let script = page.split('"').find(|text| text.contains("/dash-renderer/") && text.contains(".js")).unwrap();
    assert!(browser.open(script).ok().body.len() > 10_000, "{script}");

    let call = json!({
        "output": "total.children", "outputs": {"id": "total", "property": "children"},
        "inputs": [{"id": "region", "property": "value", "value": "south"}], "changedPropIds": ["region.value"],
    });
    browser.post_json("/_dash-update-component", &call).ok().says("south: 7");

    rotate(&project, &mut browser);
    browser.post_json("/_dash-update-component", &call).ok().says("south: 7");
    project.edit("app.py", "Sales", "Turnover").up();
    browser.open("/").ok().says("<title>Turnover</title>");
    project.ok("rollback --sandbox");
    browser.open("/").ok().says("<title>Sales</title>");
    browser.post_json("/_dash-update-component", &call).ok().says("south: 7");
}
