//! The commands of a release, as systemd runs them.

use crate::lab::{chapter, source_of};
use crate::project::Project;

/// Counts its runs in the folder that outlives releases, and tries to change the release.
const PREPARE: &str = "import os, pathlib, urllib.request
runs = pathlib.Path(os.environ['STATE_DIRECTORY'], 'runs')
with runs.open('a') as file:
    print('x', file=file)
user = 'root' if os.getuid() == 0 else 'another user'
print('run', len(runs.read_text().split()), 'as', user, 'with a secret of', len(os.environ['DATABASE_URL']))
try:
    pathlib.Path('more').write_text('x')
except OSError as problem:
    print('refused:', problem.strerror)
request = urllib.request.Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'])
request.add_header('Authorization', os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN'])
print('credentials', urllib.request.urlopen(request, timeout=10).status)
";

/// They run as the app's user, once for a release, with its secrets and the programs of its packages. `secret`: the app's
/// DATABASE_URL, which they must not print, because the machine keeps their output.
pub fn runs(project: &Project, secret: &str) {
    chapter("a command of a release", || {
        let before = source_of(project, "deploy.yaml");
        let text = before.replace("app: {", "app: {release: [python prepare.py, flask --version], ");
        project.file("app/prepare.py", PREPARE).file("deploy.yaml", &text);
        let says = format!("app.release: run 1 as another user with a secret of {}", secret.len());
        let ran = project.run("up --sandbox").ok().says(&says);
        let ran = ran.says("app.release: refused: Read-only file system").says("app.release: credentials 200");
        ran.says("app.release: Flask 3");
        project.run("logs --release --sandbox").ok();
        project.run("up --sandbox").ok().says("already up to date");
        project.file("deploy.yaml", &before).up();
    });
}
