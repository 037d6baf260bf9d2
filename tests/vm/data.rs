//! The data volume, as systemd mounts it: an NVMe disk that comes and goes.

use aws_sdk_ec2::types::{Tag, VolumeState};
use serde_json::{Value, json};

use super::*;

/// The mounted data volumes, below the folder of the agent.
const MOUNTS: &str = "findmnt --raw --noheadings --types ext4 --output TARGET,OPTIONS | grep volumes || true";
/// The disks that have a serial number, as EBS volumes have.
const DISKS: &str = "cat /sys/class/block/*/device/serial 2>/dev/null || true";

/// Adds a row on the volume, and expects that many.
#[track_caller]
fn has_rows(story: &Story, count: u32) {
    let answer = get(&format!("{}/rows", story.url), Some(story.token()));
    assert_eq!((answer.status, answer.body), (200, count.to_string()));
}

/// The data volume in the machine's report, once this holds.
#[track_caller]
fn reports(story: &Story, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    until(300, what, || Some(status(&story.project)["report"].clone()).filter(&holds))["data"].clone()
}

/// The agent gives the volume up, and EC2 detaches it.
fn give_up(story: &Story, volume: &str) {
    let none = Tag::builder().key("devopsctl:data").value("none").build();
    aws(&story.project, async |aws| {
        aws.ec2.create_tags().resources(story.instance()).tags(none).send().await.map(drop).unwrap();
    });
    reports(story, "it is given up", |said| said["data"]["volume"].is_null() && said["wanted"]["data"] == "none");
    assert_eq!(get(&story.url, Some(story.token())).status, 503);
    assert_eq!(story.machine.sh(MOUNTS), "");
    aws(&story.project, async |aws| aws.ec2.detach_volume().volume_id(volume).send().await.map(drop).unwrap());
    has(story, volume, &VolumeState::Available, 1);
    assert_eq!(story.machine.sh(DISKS), "");
}

/// Waits until the volume has this state and size.
#[track_caller]
fn has(story: &Story, volume: &str, state: &VolumeState, gib: i32) {
    until(120, "the volume's state and size", || {
        let found =
            aws(&story.project, async |aws| aws.ec2.describe_volumes().volume_ids(volume).send().await.unwrap());
        let [found] = found.volumes() else { panic!("{found:?}") };
        (found.state() == Some(state) && found.size() == Some(gib)).then_some(())
    });
}

impl Story {
    pub(super) fn keeps_data_on_a_volume(&self) {
        let before = source_of(&self.project, "deploy.yaml");
        let with_data = |gib: u32| {
            self.project.file("deploy.yaml", &format!("{before}data: {{path: /data, gib: {gib}}}\n"));
        };
        let volume = chapter("a blank volume is formatted and mounted", || {
            with_data(1);
            code(&self.project, "keeps", "");
            self.project.up();
            has_rows(self, 1);
            has_rows(self, 2);
            let said = reports(self, "its size", |said| said["data"]["gib"] == 1);
            assert_eq!(said["error"], json!(null));
            let mounted = self.machine.sh(MOUNTS);
            assert!(mounted.contains("nosuid,nodev") && mounted.lines().count() == 1, "{mounted}");
            assert_eq!(self.machine.sh("ls -A /data"), "", "only the app sees it there");
            assert_eq!(self.machine.sh("stat -c %a /run/devopsctl/volumes/vol-*[0-9a-f]"), "700");
            said["volume"].as_str().unwrap().to_owned()
        });
        chapter("it stays through a kill and a release", || {
            self.machine.sh("kill -9 $(sort -n /sys/fs/cgroup/devopsctl.slice/app@*/cgroup.procs | head -n 1)");
            until(300, "it serves again", || {
                try_get(&self.url, Some(self.token())).ok().filter(|answer| answer.status == 200)
            });
            has_rows(self, 3);
            code(&self.project, "keeps more", "");
            self.project.up();
            has_rows(self, 4);
        });
        chapter("it is given up, grows, and comes back", || {
            give_up(self, &volume);
            // QEMU shows a new size at the next attachment only.
            aws(&self.project, async |aws| {
                aws.ec2.modify_volume().volume_id(&volume).size(2).send().await.map(drop).unwrap()
            });
            has(self, &volume, &VolumeState::Available, 2);
            with_data(2);
            self.project.up();
            has_rows(self, 5);
            let size = self.machine.sh("df --output=size -B1M /run/devopsctl/volumes/vol-*[0-9a-f] | tail -1");
            assert!(size.trim().parse::<u64>().unwrap() > 1900, "{size}");
        });
    }

    /// After a boot, the volume is mounted before the app starts. The rows that `keeps_data_on_a_volume` left are there.
    pub(super) fn still_has_its_data(&self) {
        has_rows(self, 6);
    }
}
