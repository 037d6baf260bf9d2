//! `run`: a command in the environment of the serving release.

use std::fs;

use serde_json::{Value, json};

use crate::console::aws;
use crate::project::{Project, Ran, install_emulator, until};
use crate::pseudo_terminal::at_a_terminal;
use crate::ssh_session::{SshSession, has_sshd, leases, ssh_rules};

const APP: &str = "def app(environ, start_response):
    start_response('200 OK', [])
    return [b'here']
";
/// Prints what a command finds.
const FINDS: &str = "import json, os, sys
try:
    open('own.txt', 'w')
except OSError as problem:
    print('refused:', problem.strerror, file=sys.stderr)
given = {name: os.environ.get(name) for name in ('GREETING', 'PASSWORD', 'APP_SECRET_TOKEN')}
own = [name for name in os.environ if name.startswith(('DEVOPSCTL_', 'CREDENTIALS_'))]
files = os.path.basename(os.getcwd()), os.path.exists('app.py')
print(json.dumps({'given': given, 'own': own, 'files': files, 'words': sys.argv[1:]}))
sys.exit(7)
";
/// Shows the terminal, and that Ctrl-C reaches it. The echo is off as for a password.
const TERMINAL: &str = "import getpass, os, sys
print(sys.stdin.isatty(), sys.stdout.isatty(), os.environ['TERM'], os.get_terminal_size().columns)
print('got', getpass.getpass('say: '))
try:
    getpass.getpass('stop: ')
except KeyboardInterrupt:
    sys.exit(9)
";

fn prepare() -> Option<Project> {
    install_emulator();
    let project = has_sshd().then(Project::empty)?;
    let secrets = "secrets: [{PASSWORD: generate}], env: {GREETING: Hello}";
    let text = format!("name: shop\napp: {{path: app, workers: 1, {secrets}}}\ntoken: {{check: proxy}}\n");
    project.file("app/requirements.txt", "").file("app/finds.py", FINDS).file("app/terminal.py", TERMINAL);
    project.file("app/app.py", "raise SystemExit('broken')\n").file("deploy.yaml", &text);
    Some(project)
}

fn run(project: &Project, words: &[&str]) -> Ran {
    let output = project.command("run --sandbox --").args(words).output().unwrap();
    Ran::new(&format!("run {words:?}"), &output)
}

/// The folders of commands on the machine.
fn folders(project: &Project) -> usize {
    fs::read_dir(project.machine().join("run/devopsctl/runs")).unwrap().count()
}

#[test]
#[ignore = "slow"]
fn a_command_runs_in_the_environment_of_the_release_that_serves() {
    let Some(project) = prepare() else { return };
    project.run("run --sandbox").code(2).says("run needs a command").says("devopsctl run -- flask shell");
    project.run("run --sandbox --json -- true").code(2).says("run has no JSON output");
    project.run("run --sandbox -- true").code(1).says("no instance of shop is running");
    project.run("up --sandbox").code(4);
    project.run("run --sandbox -- true").code(4).says("no release of shop is serving").says("devopsctl status");
    assert_eq!((ssh_rules(&project), leases(&project)), (vec![], vec![]));
    project.file("app/app.py", APP).up();

    let words = ["", "a b", "it's", "\"x\"", "$(id)", "`id`", "$HOME", "a\nb", "*", "-v", "--", "é\\n"];
    let ran = run(&project, &[&["python", "finds.py"], &words[..]].concat()).code(7).says("refused: ");
    let found: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.shown()));
    let password = project.ok("secrets get --sandbox PASSWORD");
    let given = json!({"GREETING": "Hello", "PASSWORD": password, "APP_SECRET_TOKEN": null});
    assert_eq!(found, json!({"given": given, "own": [], "files": ["app", true], "words": words}));
    let ran = project.run_with("run --sandbox -q -- python -", "print(6 * 7)").ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("42\n", ""));
    run(&project, &["sh", "-c", "kill -TERM $$"]).code(128 + 15);
    run(&project, &["no-such-program", "x"]).code(127).says("no-such-program: not found");
    run(&project, &["./app.py"]).code(126).says("./app.py: Permission denied");

    let (code, shown) = at_a_terminal(&project, "say: |stop: ", "a word|\x03", "run --sandbox -- python terminal.py");
    assert_eq!(code, 9, "{shown}");
    assert!(shown.contains("True True xterm 80") && shown.contains("got a word"), "{shown}");

    // The client is gone: the command ends, and its secrets with it.
    let mut session = SshSession::of(&project, "run --sandbox -- cat");
    session.talks();
    assert_eq!(folders(&project), 1);
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        assert!(!format!("{:?}", found.reservations()[0].instances()[0].tags()).contains("cat"));
    });
    session.signal("-TERM");
    assert_ne!(session.ended(), Some(0));
    until(20, "the command has ended", || (folders(&project) == 0).then_some(()));
    assert_eq!((ssh_rules(&project), leases(&project)), (vec![], vec![]));
    project.ok("down --sandbox --yes");
}
