//! `app.static`: files of the release that are served without the app.

use crate::http::{Answer, get};
use crate::project::Project;

const APP: &str = "import os

def app(environ, start_response):
    right = environ.get('HTTP_AUTHORIZATION') == 'Token ' + os.environ['APP_SECRET_TOKEN']
    start_response('200 OK' if right else '401 Unauthorized', [('Content-Type', 'text/plain')])
    return [b'app ' + environ['PATH_INFO'].encode()]
";
/// The build writes the files, with a hash in a name as Django does.
const MAKE: &str = "import hashlib, pathlib
style = pathlib.Path('style.css').read_text()
name = f'site.{hashlib.md5(style.encode()).hexdigest()[:12]}.css'
files = pathlib.Path('out/files')
files.mkdir(parents=True)
for path, text in ((name, style), ('latest', name), ('site.css', style), ('open/a.txt', 'open'), ('.hidden', 'no')):
    (files / path).parent.mkdir(exist_ok=True)
    (files / path).write_text(text)
";

fn deployment(folder: &str) -> String {
    format!(
        "name: shop
app: {{path: ., workers: 1, build: python make.py, static: {{/assets: {folder}}}}}
token: {{open: ['/assets/open/*']}}
"
    )
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
#[ignore = "slow"]
fn files_of_the_release_are_served_without_the_app_and_guarded_like_it() {
    let project = Project::empty();
    project.file("app.py", APP).file("make.py", MAKE).file("requirements.txt", "").file(".gitignore", "out\n");
    project.file("style.css", "body { color: black }").file("deploy.yaml", &deployment("output"));
    // A folder that the build does not write is refused before anything is created.
    project
        .run("up --sandbox")
        .code(2)
        .says("app.static serves /assets from output, which has no file")
        .says("Nothing was changed");
    project.run("list --sandbox").ok().says("no deployments in account");

    project.file("deploy.yaml", &deployment("out/files"));
    let (url, token) = (project.up(), project.token());
    let asset = |name: &str| get(&format!("{url}/assets/{name}"), Some(&token));
    let first = asset("latest").body;
    let (hashed, plain) = (asset(&first), asset("site.css"));
    assert_eq!((hashed.body.as_str(), plain.body.as_str()), ("body { color: black }", "body { color: black }"));
    assert_eq!(header(&hashed, "cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(header(&plain, "cache-control"), "private, no-cache");
    assert_eq!(header(&plain, "content-type"), "text/css; charset=utf-8");
    assert_eq!(get(&format!("{url}/assets/site.css"), None).status, 401);
    let open = get(&format!("{url}/assets/open/a.txt"), None);
    assert_eq!((open.status, open.body.as_str(), header(&open, "cache-control")), (200, "open", "public, no-cache"));
    for missing in [".hidden", "none.css", "open/"] {
        assert_eq!(asset(missing).body, format!("app /assets/{missing}"));
    }

    // A page of the earlier release still finds its files with a hash; other names have the new content.
    project.file("style.css", "body { color: white }");
    project.ok("up --sandbox");
    let second = asset("latest").body;
    assert_ne!(second, first);
    assert_eq!((asset(&first).body, asset(&second).body), (hashed.body.clone(), "body { color: white }".to_owned()));
    assert_ne!(header(&asset("site.css"), "etag"), header(&plain, "etag"));

    project.ok("rollback --sandbox");
    assert_eq!((asset("latest").body, header(&asset("site.css"), "etag")), (first.clone(), header(&plain, "etag")));
    let rotated = "another-token-of-the-test";
    project.run_with("set-token --sandbox --stdin", rotated).ok();
    assert_eq!((asset(&first).status, get(&format!("{url}/assets/{first}"), Some(rotated)).status), (401, 200));
    project.ok("down --sandbox --yes");
}
