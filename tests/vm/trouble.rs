//! The chapters in which something fails: processes are killed, the disk is full, S3 or the metadata service does not answer.

use super::*;

impl Story {
    pub(super) fn survives_kills(&self) {
        let agent = "systemctl show -P MainPID devopsctl-agent.service";
        chapter("kill -9 of the agent", || {
            let visitors = self.visitors(2, self.token(), &[200]);
            let before = self.machine.sh(agent);
            self.machine.sh(&format!("kill -9 {before}"));
            until(240, "another agent", || Some(self.machine.sh(agent)).filter(|pid| pid != "0" && *pid != before));
            visitors.end(10);
        });
        chapter("kill -9 of a worker", || {
            let workers = "cat /sys/fs/cgroup/devopsctl.slice/app@*/cgroup.procs | sort -n | tail -n +2";
            let before = self.machine.sh(workers);
            self.machine.sh(&format!("kill -9 {}", before.lines().next().unwrap()));
            until(240, "another worker", || {
                Some(self.machine.sh(workers)).filter(|now| now.lines().count() == 2 && *now != before)
            });
            self.serves("second");
        });
        chapter("kill -9 of gunicorn's master", || {
            self.machine.sh("kill -9 $(sort -n /sys/fs/cgroup/devopsctl.slice/app@*/cgroup.procs | head -n 1)");
            // The socket stays open: new connections wait.
            until(300, "a request is answered", || {
                try_get(&self.url, Some(self.token())).ok().filter(|a| a.status == 200)
            });
            self.is_healthy();
        });
    }

    /// It passes its checks each time, and dies each time.
    pub(super) fn survives_a_crash_loop(&self) {
        chapter("an app that exits a moment after each start", || {
            let bomb =
                "import signal, threading\nthreading.Timer(5, os.kill, (os.getppid(), signal.SIGKILL)).start()\n";
            code(&self.project, "crashing", bomb);
            self.project.ok("up --sandbox --no-wait");
            until(600, "it has crashed twice", || {
                let log =
                    self.machine.sh("journalctl -u devopsctl-agent --no-pager | grep -c 'exited by itself' || true");
                (log.parse::<u32>().unwrap() >= 3).then_some(())
            });
            // No generation may serve, but both sockets must be open.
            assert!(self.machine.sh("ss -Hltn sport = :80").contains("LISTEN"));
            assert!(self.machine.sh("ss -Hlx src /run/devopsctl-app.sock").contains("LISTEN"));
            let reason = "after it had become healthy";
            until(240, "the report says why", || error(&self.project).filter(|error| error.contains(reason)));
            code(&self.project, "third", "");
            self.project.up();
            self.serves("third");
        });
    }

    pub(super) fn survives_a_full_disk_and_a_read_only_one(&self) {
        let fill = "fallocate -l $(($(df --output=avail -B1 / | tail -1) + 300000000)) /fill 2>/dev/null; \
                    cat /dev/zero > /fill2 2>/dev/null; true";
        let locked =
            "nsenter --mount --target $(systemctl show -P MainPID devopsctl-agent.service) mount -o remount,bind";
        for (what, spoil, mend, reason) in [
            ("a full disk", fill.to_owned(), "rm -f /fill /fill2".to_owned(), "No space left on device"),
            (
                "a read-only /opt/devopsctl",
                // Not while a file is open for writing there, for example by a compiler.
                format!("timeout 180 sh -c 'until {locked},ro /opt/devopsctl 2>/dev/null; do sleep 1; done'"),
                format!("{locked},rw /opt/devopsctl"),
                "Read-only file system",
            ),
        ] {
            chapter(what, || {
                self.machine.sh(&spoil);
                code(&self.project, what, "");
                let visitors = self.visitors(1, self.token(), &[200]);
                self.project.run("up --sandbox").code(4).says(reason);
                visitors.end(5);
                self.serves("third");
                self.machine.sh(&mend);
            });
        }
    }

    /// For a minute: the app keeps serving, and then the agent catches up.
    pub(super) fn survives_without_metadata(&mut self) {
        chapter("no metadata", || {
            let log = "journalctl -u devopsctl-agent --no-pager | grep -c \"cannot read the tags\" || true";
            self.metadata(InstanceMetadataEndpointState::Disabled);
            self.tokens.push("the-third-token-of-the-story".to_owned());
            self.project.run_with("set-token --sandbox --stdin --no-wait", self.token()).ok();
            let old = &self.tokens[1];
            until(400, "many reads of the tags failed", || {
                assert_eq!(get(&self.url, Some(old)).status, 200);
                (self.machine.sh(log).parse::<u32>().unwrap() >= 30).then_some(())
            });
            self.metadata(InstanceMetadataEndpointState::Enabled);
            until(300, "the new token", || (get(&self.url, Some(self.token())).status == 200).then_some(()));
            until(300, "the old one is refused", || (get(&self.url, Some(old)).status == 401).then_some(()));
        });
    }

    fn metadata(&self, state: InstanceMetadataEndpointState) {
        let id = self.instance();
        aws(&self.project, async |aws| {
            aws.ec2.modify_instance_metadata_options().instance_id(id).http_endpoint(state).send().await.unwrap();
        });
    }

    /// A reboot through EC2, and nothing else.
    pub(super) fn survives_a_reboot_without_s3_and_the_authority(&mut self, authority: &Pebble) {
        authority.leave();
        chapter("a reboot, with S3 and the certificate authority failing", || {
            self.none_served_before_its_checks();
            let before = status(&self.project);
            let compiled = "journalctl -b -u devopsctl-agent --no-pager | grep -c 'agent: compiles' || true";
            assert_ne!(self.machine.sh(compiled), "0");
            fault(&self.project, S3_AWAY);
            let (id, boot) = (self.instance(), self.machine.boot_id());
            aws(&self.project, async |aws| {
                aws.ec2.reboot_instances().instance_ids(id).send().await.unwrap();
            });
            until(300, "it goes down", || glance(&self.url, Some(self.token())).is_err().then_some(()));
            until(600, "it answers again", || glance(&self.url, Some(self.token())).ok().filter(|a| a.status == 200));
            self.is_healthy();
            let after = status(&self.project);
            assert_eq!((&before["release"], &before["token"]), (&after["release"], &after["token"]));
            fault(&self.project, "accept?action=GetObject");
            self.machine.open_shell();
            self.machine.wait_for_shell();
            assert_ne!(self.machine.boot_id(), boot);
            // Nothing was compiled again, and no leftovers remain, not even of interrupted work.
            assert_eq!(self.machine.sh(compiled), "0");
            until(120, "old releases are gone", || {
                let left = self.machine.sh("ls /opt/devopsctl/releases");
                (left.lines().count() <= 3 && !left.contains('.')).then_some(())
            });
        });
    }
}
