//! `devopsctl run` on the machine, where the command has a unit of its own.

use crate::lab::{Machine, chapter, until};
use crate::project::{Project, Ran};
use crate::pseudo_terminal::at_a_terminal;
use crate::ssh_session::{SshSession, leases, ssh_rules};

/// Prints where a command runs and what it may do. It must not print the secret, which would be in this test's own output.
const LOOKS: &str = "import os, socket, sys, urllib.request
user = 'root' if os.getuid() == 0 else 'another user'
print(user, 'with', len(os.environ['DATABASE_URL']), open('/proc/self/oom_score_adj').read().strip(), sys.argv[1:])
print(open('/proc/self/cgroup').read().strip().partition('::')[2].rpartition('-')[0])
request = urllib.request.Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'])
request.add_header('Authorization', os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN'])
print('credentials', urllib.request.urlopen(request, timeout=10).status, os.environ['STATE_DIRECTORY'], os.environ['HOME'])
for what, does in (
    ('write', lambda: open('more', 'w')),
    ('read', lambda: os.listdir('/run/devopsctl')),
    ('metadata', lambda: socket.create_connection(('169.254.169.254', 80), 3)),
):
    try:
        does()
        print('could', what)
    except OSError as problem:
        print('could not', what, file=sys.stderr)
print(sys.stdin.read())
sys.exit(7)
";
/// Without a space, at which the line would be split.
const TERMINAL: &str = "os=__import__('os');ask=__import__('getpass').getpass;\
    print(os.isatty(0),os.environ['TERM'],os.get_terminal_size().columns,os.ttyname(0)[:4]);print('got',ask('say:'));ask('stop:')";

/// `secret`: the app's DATABASE_URL.
pub fn works(project: &Project, machine: &Machine, secret: &str) {
    chapter("a command in the app's environment", || {
        let mut command = project.command("run --sandbox -q -- python -c");
        let words = ["a b", "$HOME ${HOME} %i %%", "it's"];
        let input = project.folder().join("input");
        std::fs::write(&input, "from a file").unwrap();
        let output = command.arg(LOOKS).args(words).stdin(std::fs::File::open(&input).unwrap()).output().unwrap();
        let ran = Ran::new("run", &output).code(7);
        let first = format!("another user with {} 900 ['a b', '$HOME ${{HOME}} %i %%', \"it's\"]\n", secret.len());
        let rest = "/devopsctl.slice/devopsctl-run\ncredentials 200 /var/lib/devopsctl-app /tmp\nfrom a file\n";
        assert_eq!(ran.stdout, first + rest, "{}", ran.shown());
        assert_eq!(ran.stderr, "could not write\ncould not read\ncould not metadata\n");
        project.run("run --sandbox -- flask --version").ok().says("Flask 3");
        project.run("run --sandbox -- no-such-program").code(127).says("no-such-program: not found");
    });
    chapter("a command at a terminal", || {
        let line = format!("run --sandbox -- python -c {TERMINAL}");
        let (code, shown) = at_a_terminal(project, "say:|stop:", "word|\x03", &line);
        assert!(shown.contains("True xterm 80 /dev") && shown.contains("got word"), "{shown}");
        assert_eq!(code, 128 + 2, "{shown}");
    });
    chapter("a command whose client is gone", || {
        let mut session = SshSession::of(project, "run --sandbox -- cat");
        session.talks();
        assert_eq!(machine.sh("ls /run/devopsctl/runs | wc -l; systemctl is-active 'devopsctl-run-*'"), "1\nactive");
        session.signal("-TERM");
        assert_ne!(session.ended(), Some(0));
        let left = "ls /run/devopsctl/runs; systemctl list-units --plain --no-legend 'devopsctl-run-*'";
        until(60, "it has ended", || machine.sh(left).is_empty().then_some(()));
        assert_eq!((ssh_rules(project), leases(project)), (vec![], vec![]));
    });
}
