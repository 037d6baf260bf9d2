//! A schedule on the machine, where each run has a unit of its own. It is due each minute, so other chapters go on meanwhile.

use crate::lab::{Machine, chapter, source_of, until};
use crate::project::Project;

/// It must not print the secret, because the machine keeps its output.
const TICKS: &str = "import os, socket, sys, urllib.request
user = 'root' if os.getuid() == 0 else 'another user'
unit = open('/proc/self/cgroup').read().strip().partition('::')[2]
print('runs as', user, 'in', unit, open('/proc/self/oom_score_adj').read().strip(), len(os.environ['DATABASE_URL']))
request = urllib.request.Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'])
request.add_header('Authorization', os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN'])
print('credentials', urllib.request.urlopen(request, timeout=10).status)
for what, does in (
    ('write', lambda: open('more', 'w')),
    ('read', lambda: os.listdir('/run/devopsctl')),
    ('metadata', lambda: socket.create_connection(('169.254.169.254', 80), 3)),
):
    try:
        does()
        print('could', what)
    except OSError:
        pass
sys.exit(7)
";
const SCHEDULE: &str = "schedule: {tick: {cron: '* * * * *', run: exec python tick.py}}\n";

/// Deploys it.
pub fn begins(project: &Project) {
    chapter("a schedule begins", || {
        let text = source_of(project, "deploy.yaml") + SCHEDULE;
        project.file("app/tick.py", TICKS).file("deploy.yaml", &text).up();
    });
}

/// Its runs end as they should, each with the output in its own log; then it is removed.
pub fn has_run(project: &Project, machine: &Machine, secret: &str) {
    chapter("a schedule has run", || {
        // The next one may begin before another look.
        until(200, "a run has ended", || {
            let said = project.run("status --sandbox").stdout;
            said.contains("failed with exit code 7; next run ").then_some(())
        });
        let said = project.run("logs tick --sandbox").ok().says("$ exec python tick.py").says("credentials 200");
        let place = "/devopsctl.slice/schedule@schedule-tick.service 900";
        let said = said.says(&format!("runs as another user in {place} {}", secret.len()));
        assert!(!said.stdout.contains("could"), "{}", said.shown());
        assert!(!project.run("logs --release --sandbox").ok().stdout.contains("tick.py"));
        let before = source_of(project, "deploy.yaml").replace(SCHEDULE, "");
        project.file("deploy.yaml", &before).up();
        let left = "systemctl list-units --all --no-legend 'schedule@*'; ls /run/devopsctl/commands";
        until(90, "nothing is left of the last run", || machine.sh(left).trim().is_empty().then_some(()));
    });
}
