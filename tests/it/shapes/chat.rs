//! Flask-SocketIO: long polling and WebSockets, each of which takes a thread for its whole life.

use std::fs;

use super::{deployed, rotate};
use crate::browser::Browser;
use crate::project::Project;
use crate::websocket::WebSocket;

/// The path of a session that polls.
fn polling(browser: &mut Browser) -> String {
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = browser.open(path).ok().body;
    let about: serde_json::Value = serde_json::from_str(opened.trim_start_matches('0')).unwrap();
    let path = format!("{path}&sid={}", about["sid"].as_str().unwrap());
    browser.post_text(&path, "40").ok();
    browser.open(&path).ok().says("40{");
    path
}

fn socket(url: &str, token: &str) -> WebSocket {
    let (status, mut socket) = WebSocket::open(url, "/socket.io/?EIO=4&transport=websocket", token);
    assert_eq!(status, "101");
    assert!(socket.text().starts_with("0{"));
    assert!(socket.ask("40").starts_with("40{"));
    socket
}

#[test]
#[ignore = "slow"]
fn a_chat_reaches_every_client_and_a_change_tells_them_to_connect_again() {
    let project = Project::empty().with_app("chat");
    let mut browser = deployed(&project, &[]);
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    assert!(text.contains("\n  workers: 1 ") && text.contains("\n  threads: 100 "), "{text}");
    browser.open("/").ok().says("socket.io.min.js");

    let (url, token) = (browser.url(), project.token());
    let mut sockets: Vec<WebSocket> = (0..6).map(|_| socket(&url, &token)).collect();
    let path = polling(&mut browser);
    sockets[0].say("42[\"say\",\"hello\"]");
    for socket in &mut sockets {
        assert_eq!(socket.text(), "42[\"said\",\"hello\"]");
    }
    assert_eq!(browser.open(&path).ok().body, "42[\"said\",\"hello\"]");
    browser.post_text(&path, "42[\"say\",\"again\"]").ok();
    assert_eq!(sockets[5].text(), "42[\"said\",\"again\"]");

    project.edit("templates/index.html", "<title>Chat", "<title>Talk");
    project.up();
    let end = sockets.iter_mut().map(|socket| std::iter::repeat_with(|| socket.frame()).find(|(kind, _)| *kind != 1));
    assert!(end.into_iter().all(|frame| frame == Some((8, 1012_u16.to_be_bytes().to_vec()))));
    browser.open("/").ok().says("<title>Talk");
    browser.open(&path).is(400).says("Invalid session");
    let path = polling(&mut browser);
    socket(&url, &token).say("42[\"say\",\"back\"]");
    assert_eq!(browser.open(&path).ok().body, "42[\"said\",\"back\"]");

    rotate(&project, &mut browser);
    project.ok("rollback --sandbox");
    browser.open("/").ok().says("<title>Chat");
    let path = polling(&mut browser);
    socket(&url, &project.token()).say("42[\"say\",\"as before\"]");
    assert_eq!(browser.open(&path).ok().body, "42[\"said\",\"as before\"]");
}
