//! `devopsctl ssh` to the machine, with the system's own sshd.

use std::fs;

use crate::lab::{Machine, chapter, until};
use crate::project::Project;
use crate::ssh_session::{SshSession, leases, ssh_rules};

/// Two sessions, each with its own key; the key of a closed session is refused.
pub fn lets_in(project: &Project, machine: &Machine) {
    chapter("a shell, for as long as somebody is connected", || {
        assert_eq!(project.ok("ssh --sandbox -- id -un; sudo id -u"), "debian\n0");
        assert_eq!((ssh_rules(project), leases(project)), (vec![], vec![]));
        let first = SshSession::start(project);
        let folder = project.state().join("devopsctl/ssh").join(leases(project)[0].rsplit(':').next().unwrap());
        let key = project.folder().join("key");
        fs::copy(folder.join("key"), &key).unwrap();
        assert!(machine.opens_with(&key));
        let mut second = SshSession::start(project);
        assert_eq!((ssh_rules(project).len(), leases(project).len()), (1, 2));
        assert_eq!(first.leave(), Some(0));
        // The machine reads it within a moment; the open session stays open.
        until(120, "the key is taken back", || (!machine.opens_with(&key)).then_some(()));
        second.talks();
        assert_eq!(second.leave(), Some(0));
        assert_eq!((ssh_rules(project), leases(project)), (vec![], vec![]));
        until(120, "no key is left", || machine.sh("cat /run/devopsctl-ssh/debian").is_empty().then_some(()));
        fs::remove_file(&key).unwrap();
    });
}
