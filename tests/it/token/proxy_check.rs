//! `token.check: proxy`: any app behind the token.

use std::collections::BTreeMap;

use reqwest::Method;

use crate::http::{client, get, runtime};
use crate::project::Project;

/// An app that knows nothing of a token. It answers with what it sees of the request and of its environment.
const APP: &str = "import os
from flask import Flask, request

app = Flask(__name__, static_folder=None)

@app.route('/', defaults={'path': ''}, methods=['GET', 'POST', 'OPTIONS'])
@app.route('/<path:path>', methods=['GET', 'POST', 'OPTIONS'])
def index(path):
    tokens = sorted(name for name in os.environ if 'TOKEN' in name)
    return f'{path}|{request.headers.get(\"Authorization\")}|{tokens}'
";

/// The status, the challenges and the body.
fn ask(method: &str, url: &str, headers: &[(&str, String)]) -> (u16, Vec<String>, String) {
    let mut request = client().request(Method::from_bytes(method.as_bytes()).unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    runtime().block_on(async {
        let response = request.send().await.unwrap();
        let challenges = response.headers().get_all("www-authenticate").iter();
        let challenges = challenges.map(|value| value.to_str().unwrap().to_owned()).collect();
        (response.status().as_u16(), challenges, response.text().await.unwrap())
    })
}

#[test]
fn an_app_without_a_check_is_deployed_behind_one() {
    let project = Project::empty();
    project.file("web.py", APP).file("requirements.txt", "flask\n");
    project.run("init --name shop").ok().says("token: checked in front of the app").says("next: ");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    assert!(text.contains("\n  check: proxy"), "{text}");
    let url = project.up();
    let token = project.token();
    let sent = |value: String| ask("GET", &url, &[("Authorization", value)]);

    let (status, challenges, body) = ask("GET", &url, &[]);
    assert_eq!(status, 401);
    assert!(challenges.iter().any(|one| one.starts_with("Basic realm=")), "{challenges:?}");
    assert!(challenges.iter().any(|one| one.starts_with("Token realm=")), "{challenges:?}");
    assert!(body.contains("needs its token"), "{body}");
    for value in [format!("Token {token}"), format!("Bearer {token}")] {
        assert_eq!(sent(value), (200, vec![], "|None|[]".into()));
    }
    let basic = runtime().block_on(async { client().get(&url).basic_auth("me", Some(&token)).send().await.unwrap() });
    assert_eq!(basic.status(), 200);
    // The proxy passes on both headers, which are not the token.
    let twice = [("Authorization", format!("Token {token}")), ("Authorization", "Token x".into())];
    assert_eq!(ask("GET", &url, &twice).0, 401);

    // The app has the new token's check, and both during a window.
    project.run("set-token --sandbox --generate --grace 1h").ok().says("and the previous one until");
    let fresh = project.token();
    assert_eq!([&token, &fresh].map(|one| get(&url, Some(one)).status), [200, 200]);
    project.run("set-token --sandbox --grace 0").ok().says("refuses the previous one");
    assert_eq!([&token, &fresh].map(|one| get(&url, Some(one)).status), [401, 200]);
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn open_paths_and_preflights_need_no_token() {
    let project = Project::empty();
    let deploy =
        |token: &str| format!("name: shop\napp: {{path: ., wsgi: 'web:app', workers: 1}}\ntoken: {{{token}}}\n");
    project.file("web.py", APP).file("requirements.txt", "flask\n");
    let open = "check: proxy, open: [/, '/static/*'], open_preflight: true";
    project.file("deploy.yaml", &deploy(open));
    project.run("up --sandbox").code(2).says("/ needs no token").says("set `token.path`");
    project.file("deploy.yaml", &deploy(&format!("{open}, path: /private")));
    let url = project.up();
    let url = url.trim_end_matches('/');
    let statuses: BTreeMap<&str, u16> = ["/", "/static/a.css", "/static", "/private", "/static/%2e%2e/private", "//"]
        .map(|path| (path, ask("GET", &format!("{url}{path}"), &[]).0))
        .into();
    let expected = [("/", 200), ("/static/a.css", 200), ("/static", 401), ("/private", 401), ("//", 401)];
    for (path, status) in expected {
        assert_eq!(statuses[path], status, "{path}: {statuses:?}");
    }
    assert_eq!(statuses["/static/%2e%2e/private"], 401, "{statuses:?}");
    let preflight = [("Origin", "https://example.com".into()), ("Access-Control-Request-Method", "PUT".into())];
    assert_eq!(ask("OPTIONS", &format!("{url}/private"), &preflight).0, 200);
    assert_eq!(ask("OPTIONS", &format!("{url}/private"), &preflight[..1]).0, 401);

    // Wrong tokens are limited, but this machine has sent the right one before.
    let wrong = || ask("POST", &format!("{url}/private"), &[("Authorization", "Token wrong".into())]).0;
    let answers: Vec<u16> = (0..12).map(|_| wrong()).collect();
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
    assert_eq!(get(&format!("{url}/private"), Some(&project.token())).status, 200);
    project.ok("down --sandbox --yes");
}
