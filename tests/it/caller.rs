//! Somebody who is on the machine by `devopsctl ssh`, and what AWS says of him.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::console::aws;
use crate::project::Project;

/// What AWS itself says of port 22: whom it is open for, and as what.
pub fn doors(project: &Project) -> Vec<(String, String)> {
    aws(project, async |aws| {
        let groups = aws.ec2.describe_security_groups().send().await.unwrap();
        let rules = groups.security_groups().iter().flat_map(|group| group.ip_permissions());
        let rules = rules.filter(|rule| rule.from_port() == Some(22)).flat_map(|rule| rule.ip_ranges());
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        rules.map(|range| (text(range.cidr_ip()), text(range.description()))).collect()
    })
}

/// The tags of those who are connected.
pub fn leases(project: &Project) -> Vec<String> {
    aws(project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let tags = found.reservations().iter().flat_map(|one| one.instances()).flat_map(|one| one.tags());
        tags.filter_map(|tag| tag.key()).filter(|key| key.starts_with("devopsctl:ssh")).map(str::to_owned).collect()
    })
}

/// Somebody who is connected, and talks to a `cat`.
pub struct Connected {
    child: Child,
    say: Option<ChildStdin>,
    hear: Lines<BufReader<ChildStdout>>,
}

impl Connected {
    /// Comes in, and is answered.
    pub fn start(project: &Project) -> Self {
        let mut command = project.command("ssh --sandbox -- cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (say, hear) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()).lines());
        let mut connected = Self { child, say, hear };
        connected.talks();
        connected
    }

    /// The other side hears and answers.
    #[track_caller]
    pub fn talks(&mut self) {
        writeln!(self.say.as_mut().unwrap(), "is somebody there?").unwrap();
        assert_eq!(self.hear.next().unwrap().unwrap(), "is somebody there?");
    }

    /// Sends the command a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// It says that it has said all, and waits for the end.
    pub fn leave(mut self) -> Option<i32> {
        self.say = None;
        self.ended()
    }

    /// It ends by itself. The other side could still hear until then: it does not end because it was left.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
