//! The blog of Flask's tutorial: a factory, blueprints, and SQLite in the instance folder.

use super::{deployed, rotate};
use crate::project::Project;

#[test]
#[ignore = "slow"]
fn the_tutorials_blog_keeps_its_sessions_and_its_database() {
    let project = Project::empty().with_app("flaskr");
    let mut browser = deployed(&project, &[]);
    let login = [("username", "ada"), ("password", "a-horse-and-a-lamp")];
    assert_eq!(browser.submit("/auth/register", &login).ok().path, "/auth/login");
    browser.submit("/auth/login", &[("username", "ada"), ("password", "wrong")]).says("Incorrect username");
    browser.submit("/auth/login", &login).ok().says("ada").says("Log Out");
    browser.submit("/create", &[("title", "First"), ("body", "Hello")]).ok().says("<h2>First</h2>");
    browser.open("/static/style.css").ok().says("sans-serif");

    rotate(&project, &mut browser);
    browser.open("/").ok().says("Log Out").says("First");
    let template = "flaskr/templates/blog/index.html";
    project.edit(template, "by {{", "written by {{");
    project.up();
    browser.submit("/create", &[("title", "Second"), ("body", "Again")]).ok().says("written by ada").says("First");
    project.ok("rollback --sandbox");
    let page = browser.open("/").ok().says("Log Out").says("First").says("Second");
    assert!(!page.body.contains("written by"), "{}", page.body);
    // A new key ends all sessions, and the database stays.
    project.ok("secrets set FLASK_SECRET_KEY --generate --sandbox");
    browser.open("/").ok().says("Log In").says("Second");
}
