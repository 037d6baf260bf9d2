//! A session of `devopsctl ssh`, and its traces in AWS.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::console::aws;
use super::project::Project;

/// Whether OpenSSH's server is installed. CI must have it. Prepares the folder that it needs.
pub fn has_sshd() -> bool {
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].iter().any(|path| Path::new(path).exists());
    if !sshd {
        eprintln!("skipped: this test needs OpenSSH's server, on Debian: apt install openssh-server");
        assert!(std::env::var_os("CI").is_none(), "CI must have it");
    }
    sshd
}

/// The rules for port 22 in AWS: CIDR block and description.
pub fn ssh_rules(project: &Project) -> Vec<(String, String)> {
    aws(project, async |aws| {
        let groups = aws.ec2.describe_security_groups().send().await.unwrap();
        let rules = groups.security_groups().iter().flat_map(|group| group.ip_permissions());
        let rules = rules.filter(|rule| rule.from_port() == Some(22)).flat_map(|rule| rule.ip_ranges());
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        rules.map(|range| (text(range.cidr_ip()), text(range.description()))).collect()
    })
}

/// The tags of the open sessions.
pub fn leases(project: &Project) -> Vec<String> {
    aws(project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let tags = found.reservations().iter().flat_map(|one| one.instances()).flat_map(|one| one.tags());
        tags.filter_map(|tag| tag.key()).filter(|key| key.starts_with("devopsctl:ssh")).map(str::to_owned).collect()
    })
}

/// An open session that runs `cat`.
pub struct SshSession {
    child: Child,
    say: Option<ChildStdin>,
    hear: Lines<BufReader<ChildStdout>>,
}

impl SshSession {
    /// Opens a session and waits for its first echo.
    pub fn start(project: &Project) -> Self {
        Self::of(project, "ssh --sandbox -- cat")
    }

    /// The same with another command line, which must run `cat`.
    pub fn of(project: &Project, line: &str) -> Self {
        let mut command = project.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (say, hear) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()).lines());
        let mut connected = Self { child, say, hear };
        connected.talks();
        connected
    }

    /// Asserts that the machine echoes a line.
    #[track_caller]
    pub fn talks(&mut self) {
        writeln!(self.say.as_mut().unwrap(), "ping").unwrap();
        assert_eq!(self.hear.next().unwrap().unwrap(), "ping");
    }

    /// Sends the command a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Closes the input and waits for the end.
    pub fn leave(mut self) -> Option<i32> {
        self.say = None;
        self.ended()
    }

    /// Waits for the end without closing the input.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for SshSession {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
