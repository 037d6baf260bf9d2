//! Starlette with server-sent events, of which a library takes care.

use super::{deployed, rotate};
use crate::event_stream::EventStream;
use crate::project::{Project, until};

#[test]
#[ignore = "slow"]
fn server_sent_events_end_with_their_release_and_do_not_hold_it_up() {
    let project = Project::empty().with_app("starlette");
    let mut browser = deployed(&project, &[]);
    browser.open("/").ok().says("<h1>Harbour</h1>");
    let url = project.ok("status --sandbox --json");
    let url = serde_json::from_str::<serde_json::Value>(&url).unwrap()["url"].as_str().unwrap().to_owned() + "/tides";
    let mut events = EventStream::open(&url, &project.token());
    events.read_until("data: Harbour 3\r\n");

    project.edit("main.py", "Harbour", "Lighthouse");
    project.up();
    let read = events.read_to_end();
    assert!(read.ends_with("\r\n\r\n") && !read.contains("Lighthouse"), "{read}");
    let mut events = EventStream::open(&url, &project.token());
    events.read_until("data: Lighthouse 1\r\n");
    until(30, "the old generation's own shutdown", || {
        project.ok("logs --sandbox").contains("stopped Harbour").then_some(())
    });

    rotate(&project, &mut browser);
    assert!(!events.read_to_end().is_empty());
    project.ok("rollback --sandbox");
    browser.open("/").ok().says("<h1>Harbour</h1>");
    assert!(!project.ok("logs --sandbox").contains("Traceback"));
}
