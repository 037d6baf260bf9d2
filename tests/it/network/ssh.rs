//! `ssh`: a session with a real `sshd`, and that port 22 is open only for it and only during it.

use std::fs;
use std::process::Command;

use aws_sdk_ec2::types::{InstanceMetadataEndpointState, IpPermission, IpRange, Tag};
use devopsctl::aws::retry::HASTE;
use devopsctl::base::clock::now;

use crate::console::{aws, fault};
use crate::project::{Project, Ran, install_emulator, until};
use crate::ssh_session::{SshSession, has_sshd, leases, ssh_rules};

fn prepare() -> Option<Project> {
    install_emulator();
    has_sshd().then(Project::example)
}

#[track_caller]
fn all_is_closed(project: &Project) {
    assert_eq!((ssh_rules(project), leases(project)), (vec![], vec![]));
    assert_eq!(fs::read_dir(project.state().join("devopsctl/ssh")).map_or(0, Iterator::count), 0);
}

#[test]
#[ignore = "slow"]
fn port_22_is_open_only_during_a_session() {
    let Some(project) = prepare() else { return };
    project
        .run("ssh --sandbox")
        .code(1)
        .says("no instance of hello is running")
        .says("deploy it: devopsctl up --sandbox");
    let url = project.up();
    let ran = project.run("ssh --sandbox -- echo here; exit 7").code(7);
    assert_eq!(ran.stdout, "here\n");
    ran.says("for 127.0.0.1/32 until the session ends").says("closed port 22");
    all_is_closed(&project);
    let ran = project.run_with("ssh --sandbox -q -- cat", "a file").ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a file", ""));

    let mut first = SshSession::start(&project);
    let open = ssh_rules(&project);
    assert_eq!((open.len(), open[0].0.as_str(), leases(&project).len()), (1, "127.0.0.1/32", 1), "{open:?}");
    assert!(open[0].1.starts_with(&format!("{} until ", leases(&project)[0])), "{open:?}");
    let mut second = SshSession::start(&project);
    assert_eq!((ssh_rules(&project), leases(&project).len()), (open.clone(), 2));
    // Commands of others do not close a rule in use, and `plan` shows no change.
    project.run("status --sandbox").ok().says("port 22 is open for 127.0.0.1/32");
    project.run("plan --sandbox").ok().says("already up to date");
    project.run("up --sandbox").ok().says("already up to date");
    assert!(project.ok("list --sandbox --json").contains(&format!("\"{url}\"")));
    assert_eq!(ssh_rules(&project), open);
    // The remote command's arguments are not parsed here.
    first.signal("-INT");
    first.talks();
    assert_eq!(first.leave(), Some(0));
    assert_eq!((ssh_rules(&project), leases(&project).len()), (open, 1));
    second.talks();
    assert_eq!(second.leave(), Some(0));
    all_is_closed(&project);
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn the_next_command_cleans_up_after_a_killed_session() {
    let Some(project) = prepare() else { return };
    project.up();
    let connected = SshSession::start(&project);
    connected.signal("-KILL");
    assert_eq!((ssh_rules(&project).len(), leases(&project).len()), (1, 1));
    until(20, "it is gone", || project.processes().iter().all(|line| !line.contains("ssh --sandbox")).then_some(()));
    project.run("status --sandbox").ok().says("warning: port 22 is open for 127.0.0.1/32");
    project.run("up --sandbox").ok().says("closed port 22 for 127.0.0.1/32");
    all_is_closed(&project);
    drop(connected);
    for signal in ["-TERM", "-HUP"] {
        let connected = SshSession::start(&project);
        connected.signal(signal);
        assert_ne!(connected.ended(), Some(0));
        all_is_closed(&project);
    }

    // Sessions of another machine: one was killed there, one is open.
    let (over, ahead) = (now() - 1, now() + 300);
    for command in ["list --sandbox", "plan --sandbox", "logs --sandbox", "releases --sandbox"] {
        remains(&project, "aaaa", "203.0.113.7/32", over);
        project.run(command).ok().says("warning: port 22 is open for 203.0.113.7/32");
        assert_eq!((ssh_rules(&project).len(), leases(&project).len()), (1, 1), "{command}");
    }
    for command in ["set-token --sandbox --generate", "up --sandbox"] {
        remains(&project, "aaaa", "203.0.113.7/32", over);
        remains(&project, "bbbb", "203.0.113.8/32", ahead);
        project.run(command).ok().says("closed port 22 for 203.0.113.7/32");
        let bears = format!("devopsctl:ssh:bbbb until {ahead}");
        assert_eq!(ssh_rules(&project), [("203.0.113.8/32".to_owned(), bears)], "{command}");
        assert_eq!(leases(&project), ["devopsctl:ssh:bbbb"], "{command}");
    }
    // Without the permission to close it, the command warns and continues.
    remains(&project, "aaaa", "203.0.113.7/32", over);
    fault(&project, "refuse?action=RevokeSecurityGroupIngress&code=UnauthorizedOperation&message=no&times=1");
    project
        .run("up --sandbox")
        .ok()
        .says("warning: port 22 is still open for 203.0.113.7/32")
        .says("already up to date");
    project.ok("down --sandbox --yes");
    assert_eq!(ssh_rules(&project), []);
}

/// Creates the rule and tag of a session from another machine.
fn remains(project: &Project, id: &str, source: &str, until: i64) {
    aws(project, async |aws| {
        let groups = aws.ec2.describe_security_groups().send().await.unwrap();
        let group =
            groups.security_groups().iter().find(|group| group.group_name() == Some("devopsctl-hello")).unwrap();
        let range = IpRange::builder().cidr_ip(source).description(format!("devopsctl:ssh:{id} until {until}")).build();
        let rule = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22).ip_ranges(range).build();
        let open = aws.ec2.authorize_security_group_ingress().group_id(group.group_id().unwrap()).ip_permissions(rule);
        // The rule in use may exist already.
        let _ = open.send().await;
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let instance = found.reservations()[0].instances()[0].instance_id().unwrap();
        let tag = Tag::builder().key(format!("devopsctl:ssh:{id}")).value(format!("{until} {source} ssh-ed25519 AAAA"));
        aws.ec2.create_tags().resources(instance).tags(tag.build()).send().await.unwrap();
    });
}

#[test]
#[ignore = "slow"]
fn a_wrong_host_is_refused_and_failures_close_port_22() {
    let Some(project) = prepare() else { return };
    project.up();
    // An address that no client has.
    project
        .run("ssh --sandbox --from 203.0.113.9 -- true")
        .code(255)
        .says("for 203.0.113.9/32")
        .says("which you can pass with --from");
    all_is_closed(&project);
    // Another host responds at the address.
    let keys = project.machine().join("var/lib/sshd");
    let other = project.folder().join("other");
    let make = ["-q", "-t", "ed25519", "-N", "", "-f"];
    assert!(Command::new("ssh-keygen").args(make).arg(&other).status().unwrap().success());
    fs::rename(keys.join("host_key"), keys.join("kept")).unwrap();
    fs::copy(&other, keys.join("host_key")).unwrap();
    project.run("ssh --sandbox -- echo in").code(255).says("Host key verification failed");
    fs::rename(keys.join("kept"), keys.join("host_key")).unwrap();
    assert_eq!(project.ok("ssh --sandbox -- echo in"), "in");
    // A caller without the permission to open it.
    fault(&project, "refuse?action=AuthorizeSecurityGroupIngress&code=UnauthorizedOperation&message=no&times=1");
    project
        .run("ssh --sandbox")
        .code(5)
        .says("cannot open port 22 for 127.0.0.1/32")
        .says("allow ec2:AuthorizeSecurityGroupIngress");
    all_is_closed(&project);
    project.run("ssh --sandbox --json").code(2).says("ssh has no JSON output");
    project.run("ssh --sandbox --from 0.0.0.0/0").code(2).says("more than 65536 addresses");
    let mut nowhere = project.command("ssh --sandbox");
    let ran = nowhere.env("PATH", project.folder()).output().unwrap();
    Ran::new("ssh --sandbox", &ran).code(1).says("ssh is not installed on this machine").says("openssh-client");
    // An instance whose agent does not see its tags.
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let id = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        let deaf = aws.ec2.modify_instance_metadata_options().instance_id(id);
        deaf.http_endpoint(InstanceMetadataEndpointState::Disabled).send().await.unwrap();
    });
    let ran = project.command("ssh --sandbox").env(HASTE, "60").output().unwrap();
    Ran::new("ssh --sandbox", &ran).code(4).says("did not accept the key").says("devopsctl status --sandbox");
    all_is_closed(&project);
}
