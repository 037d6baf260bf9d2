//! Django with split settings, WhiteNoise and the admin, first as WSGI and then as ASGI.

use std::fs;

use regex::Regex;

use super::{deployed, rotate};
use crate::browser::{Browser, Page};
use crate::event_stream::EventStream;
use crate::project::Project;

const PASSWORD: &str = "a-horse-and-a-lamp";

/// The URL of the page's style sheet, whose name contains its hash.
#[track_caller]
fn style(page: &Page) -> String {
    let link = Regex::new(r"/static/notes/style\.[0-9a-f]{12}\.css").unwrap();
    link.find(&page.body).unwrap_or_else(|| panic!("{}", page.body)).as_str().to_owned()
}

/// Uses the admin as its user, from the login on.
#[track_caller]
fn use_the_admin(browser: &mut Browser) {
    let login = |password| [("username", "admin"), ("password", password)];
    browser.submit("/admin/login/?next=/admin/", &login("another")).ok().says("Please enter the correct");
    let page = browser.submit("/admin/login/?next=/admin/", &login(PASSWORD)).ok().says("Log out");
    assert_eq!(page.path, "/admin/");
    browser
        .submit("/admin/notes/note/add/", &[("text", "First note"), ("_save", "Save")])
        .ok()
        .says("added successfully");
    browser.post("/admin/notes/note/add/", &[("text", "Forged note")]).is(403).says("CSRF verification failed");
}

#[test]
#[ignore = "slow"]
fn django_with_split_settings_keeps_its_sessions_as_wsgi_and_as_asgi() {
    let project = Project::empty().with_app("django");
    let mut browser = deployed(&project, &[("ADMIN_PASSWORD", PASSWORD)]);
    use_the_admin(&mut browser);
    let page = browser.open("/").ok().says("First note");
    let first = style(&page);
    let kept = browser.open(&first).ok().says("sans-serif").headers["Cache-Control"].clone();
    assert_eq!(kept, "max-age=315360000, public, immutable");

    rotate(&project, &mut browser);
    browser.open("/admin/").ok().says("Log out");
    project.edit("notes/static/notes/style.css", "sans-serif", "serif");
    project.up();
    assert_ne!(style(&browser.open("/").ok().says("First note")), first);
    project.ok("rollback --sandbox");
    assert_eq!(style(&browser.open("/").ok()), first);

    // The project becomes ASGI.
    fs::remove_file(project.folder().join("config/wsgi.py")).unwrap();
    fs::remove_file(project.folder().join("deploy.yaml")).unwrap();
    project.run("init --yes --name shop").ok().says("Django (ASGI), config/asgi.py:7 → config.asgi:application");
    let url = project.up();
    browser.open("/admin/").ok().says("Log out");
    let page = browser.open("/").ok().says("First note");
    browser.open(&style(&page)).ok().says("{ font-family: serif");
    let mut events = EventStream::open(&format!("{url}/events/"), &project.token());
    events.read_until("data: First note");
    browser.submit("/admin/notes/note/add/", &[("text", "Second note"), ("_save", "Save")]).ok();
    project.edit("notes/views.py", "still here", "still there");
    project.up();
    events.read_until(": still here");
    browser.open("/").ok().says("Second note");
    EventStream::open(&format!("{url}/events/"), &project.token()).read_until(": still there");
}
