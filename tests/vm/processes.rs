//! The processes beside the web server, as systemd runs them.

use crate::lab::{Machine, chapter, source_of, until};
use crate::project::Project;

/// Works until it is told to end, and tries to change the release.
const WORKS: &str = "import os, pathlib, signal, sys, time


def told(*_):
    print('told to end', flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, told)
user = 'root' if os.getuid() == 0 else 'another user'
print('works as', user, 'with a secret of', len(os.environ['DATABASE_URL']), flush=True)
try:
    pathlib.Path('more').write_text('x')
except OSError as problem:
    print('refused:', problem.strerror, flush=True)
while True:
    time.sleep(1)
";

/// They run as the app's user with its secrets, outlive the agent, and end in an orderly way, also behind a shell. If the next ones
/// fail, they come back. `secret`: the app's DATABASE_URL, which they must not print, because the machine keeps their output.
pub fn run(project: &Project, machine: &Machine, secret: &str) {
    let before = source_of(project, "deploy.yaml");
    let pid = |name: &str| machine.sh(&format!("systemctl show --property=MainPID --value process@{name}.service"));
    let told = |name: &str| {
        let lines = machine.sh(&format!("journalctl --no-pager --output=cat --unit=process@{name}.service"));
        lines.lines().filter(|line| *line == "told to end").count()
    };
    let work = |text: &str| project.file("app/work.py", text).up();
    chapter("processes beside the web server", || {
        let processes = "processes: {worker: python work.py, shell: 'echo begins; python work.py'}\n";
        project.file("deploy.yaml", &format!("{before}{processes}"));
        work(WORKS);
        project.run("status --sandbox").ok().says("worker: started").says("shell: started");
        let says = format!("works as another user with a secret of {}", secret.len());
        project.run("logs worker --sandbox").ok().says(&says).says("refused: Read-only file system");
        project.run("logs shell --sandbox").ok().says("begins").says(&says);
        let command = machine.sh(&format!("tr '\\0' ' ' </proc/{}/cmdline", pid("worker")));
        assert_eq!(command.trim(), "python work.py", "it takes the place of its shell");
    });
    chapter("an agent is killed, and the next one finds the processes", || {
        let running = pid("worker");
        machine.sh("systemctl kill --signal=KILL devopsctl-agent.service");
        machine.sh(&format!("kill -KILL {}", pid("shell")));
        until(120, "the process that was killed runs again", || {
            project.run("status --sandbox").shown().contains("shell: started").then_some(())?;
            project.run("status --sandbox").shown().contains("restarted once").then_some(())
        });
        assert_eq!(pid("worker"), running);
    });
    chapter("processes that fail, and the earlier ones come back", || {
        project.file("app/work.py", "raise SystemExit('no queue')\n");
        project.run("up --sandbox").code(4).says("did not live for 10 seconds: exit code 1").says("no queue");
        until(120, "they come back", || (pid("worker") != "0" && pid("shell") != "0").then_some(()));
        assert_eq!(told("worker"), 1);
    });
    chapter("a release without processes", || {
        project.file("deploy.yaml", &before);
        work(WORKS);
        let left = machine.sh("systemctl list-units --plain --no-legend 'process@*'");
        assert_eq!((left.as_str(), told("worker"), told("shell")), ("", 2, 2));
    });
}
