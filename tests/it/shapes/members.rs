//! An app with Flask-Login and Flask-WTF: a session, CSRF tokens, uploads, and a secret that the user sets.

use super::{deployed, rotate};
use crate::project::Project;

const PASSWORD: &str = "the-first-password";

#[test]
#[ignore = "slow"]
fn a_member_signs_in_and_uploads_with_csrf_tokens() {
    let project = Project::empty().with_app("members");
    let mut browser = deployed(&project, &[("ADMIN_PASSWORD", PASSWORD)]);
    let login = |password: &'static str| [("username", "admin"), ("password", password)];
    assert_eq!(browser.open("/photos").ok().path, "/login", "the page is for members");
    browser.post("/login", &login(PASSWORD)).is(400).says("CSRF token is missing");
    browser.submit("/login", &login("wrong")).ok().says("Wrong name");
    browser.submit("/login", &login(PASSWORD)).ok().says("Signed in as admin");
    browser.upload("/photos", "photo", "cat.txt", b"a cat").ok().says("File does not have an approved extension");
    browser.upload("/photos", "photo", "cat.png", &[b'c'; 100_000]).ok().says(">cat.png</a>");
    browser.upload("/photos", "photo", "big.png", &[b'c'; 5_000_000]).is(413);
    assert_eq!(browser.open("/static/icon.svg").ok().headers["content-type"], "image/svg+xml; charset=utf-8");

    // New code, another token and another secret keep the session and the file.
    project.edit("templates/index.html", "Signed in as", "Welcome back,");
    project.up();
    rotate(&project, &mut browser);
    project.run_with("secrets set --stdin ADMIN_PASSWORD --sandbox", "the-second-password").ok();
    browser.open("/").ok().says("Welcome back, admin");
    assert_eq!(browser.open("/photos/cat.png").ok().body.len(), 100_000);
    project.ok("rollback --sandbox");
    browser.open("/").ok().says("Signed in as admin");
    browser.cookies.clear();
    browser.submit("/login", &login(PASSWORD)).ok().says("Wrong name");
    browser.submit("/login", &login("the-second-password")).ok().says("Signed in as admin").says(">cat.png</a>");
}
