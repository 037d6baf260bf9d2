//! One virtual machine from boot to shutdown: a real Debian with its own kernel, cloud-init and systemd, with the same sandbox and
//! binary as the other tests. `cargo test --test vm -- --nocapture` (root is needed once, to build
//! the image).
//!
//! A boot takes minutes without KVM, so there is one machine and one test. Each chapter prints its time.

mod data;
mod lab;
#[path = "../https/pebble.rs"]
#[allow(dead_code)]
mod pebble;
mod processes;
mod release_command;
mod run;
mod schedule;
mod shell;
#[path = "../it/support/mod.rs"]
mod support;
mod trouble;

use std::process::Command;
use std::time::Duration;

use aws_sdk_ec2::types::InstanceMetadataEndpointState;
use serde_json::{Value, json};

use console::{aws, fault};
use http::{get, trust, try_get};
use lab::{Machine, chapter, code, error, glance, holding, source_of, status, until};
use load_clients::LoadClients;
use pebble::{Pebble, curl};
use project::Project;
use support::{console, http, load_clients, project, pseudo_terminal, ssh_session};

/// A value in the app's settings. It is not secret, so it is on the disk, where the search must find it.
const MARK: &str = "a-mark-that-can-be-found";

/// A secret of the app.
const SECRET: &str = "a-secret-that-can-be-found-nowhere";

/// The app may do everything in S3. The deployments' bucket denies it to apps.
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

/// The fault of every download from S3, until `accept`.
const S3_AWAY: &str = "refuse?action=GetObject&code=SlowDown&message=later&status=503&times=1000000";

struct Story {
    project: Project,
    machine: Machine,
    url: String,
    tokens: Vec<String>,
    /// What must not be found besides the tokens.
    hidden: Vec<String>,
}

#[test]
fn a_virtual_machine_from_boot_to_shutdown() {
    let mut story = Story::begin();
    story.answers_with_the_token_only();
    story.confines_the_app();
    story.enables_security_updates();
    story.rotates_its_token();
    story.gives_the_app_a_secret();
    story.gives_the_app_its_own_permissions();
    story.starts_no_app_that_could_reach_the_credentials();
    story.deploys_a_new_release();
    story.keeps_the_old_release_if_the_new_one_is_broken();
    release_command::runs(&story.project, SECRET);
    processes::run(&story.project, &story.machine, SECRET);
    story.survives_kills();
    shell::lets_in(&story.project, &story.machine);
    schedule::begins(&story.project);
    run::works(&story.project, &story.machine, SECRET);
    schedule::has_run(&story.project, &story.machine, SECRET);
    story.survives_a_crash_loop();
    story.survives_a_full_disk_and_a_read_only_one();
    story.keeps_data_on_a_volume();
    story.runs_an_app_of_300_mb();
    story.survives_without_metadata();
    let authority = story.gets_a_certificate();
    story.survives_a_reboot_without_s3_and_the_authority(&authority);
    story.still_has_its_data();
    story.leaves_no_token();
}

impl Story {
    /// From nothing to healthy, with S3 failing at first and a reboot before the first release.
    fn begin() -> Self {
        let image = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/build-image")).status().unwrap();
        assert!(image.success(), "the image was not built");
        let project = Project::alone();
        project.file("app/requirements.txt", "flask\n");
        // Emulation is slow, so the app needs a longer timeout than on EC2.
        let settings = format!(
            "health: {{timeout: 150}}\napp: {{path: app, permissions: policy.json, env: {{APP_MARK: {MARK}}}}}\n"
        );
        project.file("policy.json", POLICY);
        project.file("deploy.yaml", &format!("name: hello\n{settings}"));
        code(&project, "first", "");
        chapter("the local AWS starts", || project.ok("sandbox start --machine qemu"));
        fault(&project, S3_AWAY);
        chapter("a machine is launched, and boots", || project.ok("up --sandbox --yes --no-wait"));
        let mut machine = Machine::of(&project);
        chapter("S3 fails: the machine reports it, and retries", || {
            until(900, "the report quotes S3", || error(&project).filter(|error| error.contains("SlowDown")));
        });
        chapter("a reboot before the first release", || {
            machine.wait_for_shell();
            let before = machine.boot_id();
            // As in a crash: no process is stopped first.
            machine.sh("systemd-run --quiet --on-active=1 sh -c 'sync; reboot -f'");
            until(600, "it boots again", || machine.boot_id().filter(|id| Some(id) != before.as_ref()));
        });
        fault(&project, "accept?action=GetObject");
        let url = chapter("S3 works again, and the app becomes healthy", || project.up());
        machine.open_shell();
        let tokens = vec![project.token()];
        Self { project, machine, url, tokens, hidden: vec![SECRET.to_owned()] }
    }

    fn token(&self) -> &str {
        self.tokens.last().unwrap()
    }

    /// Clients with ten requests a second each: more would use all of an emulated machine's time.
    fn visitors(&self, count: u32, token: &str, right: &'static [u16]) -> LoadClients {
        LoadClients::with_pause(count, &self.url, token, right, Duration::from_millis(100))
    }

    #[track_caller]
    fn serves(&self, version: &str) {
        let answer = get(&self.url, Some(self.token()));
        assert_eq!((answer.status, answer.body.as_str()), (200, version));
    }

    fn answers_with_the_token_only(&self) {
        assert_eq!(get(&self.url, None).status, 401);
        assert_eq!(get(&self.url, Some("not-the-token")).status, 401);
        self.serves("first");
        print_boot(&self.machine);
    }

    /// The app tries everything that it must not be able to do.
    fn confines_the_app(&self) {
        chapter("the app is confined", || {
            let answer = get(&format!("{}/tries", self.url), Some(self.token()));
            let tries: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body));
            assert_eq!(tries["control"], true);
            assert_eq!(tries["could"], serde_json::json!([]));
            // tests/exposure rates the agent's unit without a machine.
            let list = "systemctl list-units --plain --no-legend 'app@*.service' | cut -d' ' -f1";
            let rating = self.machine.sh(&format!("systemd-analyze security --no-pager $({list}) | tail -n 1"));
            eprintln!("   {rating}");
            let level: f32 = rating.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert!(level <= 2.0, "{rating}");
        });
    }

    /// The image has them disabled.
    fn enables_security_updates(&self) {
        chapter("security updates are enabled", || {
            let said = until(300, "the report says so", || {
                Some(status(&self.project)["report"]["updates"].clone()).filter(|updates| updates["on"] == true)
            });
            let (by, error) = (said["by"].as_str(), &said["error"]);
            assert_eq!((by, error, &said["reboot"]), (Some("unattended-upgrades"), &Value::Null, &Value::Bool(false)));
            let told = self.machine.sh("apt-config dump APT::Periodic; systemctl is-active apt-daily-upgrade.timer");
            for line in ["Update-Package-Lists \"1\"", "Unattended-Upgrade \"1\"", "\nactive"] {
                assert!(told.contains(line), "{told}");
            }
        });
    }

    fn rotates_its_token(&mut self) {
        chapter("set-token under load", || {
            let old = self.visitors(2, self.token(), &[200, 401]);
            self.tokens.push("the-second-token-of-the-story".to_owned());
            self.project.run_with("set-token --sandbox --stdin", self.token()).ok();
            let new = self.visitors(2, self.token(), &[200]);
            println!("   {} and {} answers, none of them wrong", old.end(10), new.end(10));
            assert_eq!(get(&self.url, Some(&self.tokens[0])).status, 401);
        });
    }

    fn gives_the_app_a_secret(&self) {
        chapter("a secret", || {
            self.project.run_with("secrets set --sandbox --stdin DATABASE_URL", SECRET).ok();
            assert_eq!(get(&format!("{}/secret", self.url), Some(self.token())).body, SECRET);
            self.is_shown_nowhere(SECRET);
        });
    }

    fn gives_the_app_its_own_permissions(&mut self) {
        chapter("the app's own permissions in AWS", || {
            aws(&self.project, async |aws| aws.s3.create_bucket().bucket("shop-data").send().await.map(drop).unwrap());
            let answer = get(&format!("{}/aws", self.url), Some(self.token()));
            let found: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body));
            assert_eq!((&found["own"], &found["agents"]), (&json!([200, 200]), &json!([403, 400])));
            let token = found["token"].as_str().unwrap().to_owned();
            self.is_shown_nowhere(&token);
            self.hidden.push(token);
        });
    }

    /// In no argument and no initial environment of a process, and in no report.
    fn is_shown_nowhere(&self, value: &str) {
        // In this form, it is not in the arguments of the search itself.
        let (first, rest) = value.split_at(1);
        let search = format!(
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -ac -e '[{first}]{rest}' || true"
        );
        assert_eq!(self.machine.sh(&search), "0");
        assert!(!status(&self.project).to_string().contains(value));
    }

    /// systemd's `IPAddressDeny=` silently has no effect on a kernel without BPF: then no app may start.
    fn starts_no_app_that_could_reach_the_credentials(&self) {
        chapter("a machine that cannot deny the app the credentials", || {
            let rule = "/run/systemd/system/app@.service.d";
            self.machine.sh(&format!(
                "mkdir {rule} && printf '[Service]\\nIPAddressDeny=\\n' > {rule}/open.conf && systemctl daemon-reload"
            ));
            code(&self.project, "second", "");
            self.project
                .run("up --sandbox")
                .code(4)
                .says("it could reach the instance's credentials at 169.254.169.254");
            self.serves("first");
            self.machine.sh(&format!("rm -r {rule} && systemctl daemon-reload"));
        });
    }

    /// The release that was refused a moment ago.
    fn deploys_a_new_release(&self) {
        chapter("a new release under load", || {
            let visitors = self.visitors(2, self.token(), &[200]);
            self.project.up();
            println!("   {} answers, none of them wrong", visitors.end(10));
            self.serves("second");
        });
    }

    fn keeps_the_old_release_if_the_new_one_is_broken(&self) {
        chapter("a broken release", || {
            code(&self.project, "broken", "import importlib\nimportlib.import_module('a_module_that_nobody_has')\n");
            let visitors = self.visitors(1, self.token(), &[200]);
            self.project
                .run("up --sandbox")
                .code(4)
                .says("No module named 'a_module_that_nobody_has'")
                .says("app/app.py");
            visitors.end(5);
            self.serves("second");
            code(&self.project, "second", "");
            self.project.up();
        });
    }

    #[track_caller]
    fn is_healthy(&self) {
        until(400, "status says healthy", || (self.project.run("status --sandbox").code == 0).then_some(()));
    }

    /// From here on two generations use 600 MB, on a machine of 1 GiB.
    fn runs_an_app_of_300_mb(&self) {
        chapter("an app of 300 MB", || {
            // os.urandom: otherwise the memory would be reserved but not used.
            code(&self.project, "fourth", "ballast = bytearray(os.urandom(1 << 20)) * 300\n");
            let text = source_of(&self.project, "deploy.yaml").replace("app: {", "app: {workers: 1, ");
            self.project.file("deploy.yaml", &text);
            self.project.up();
            self.serves("fourth");
        });
    }

    fn instance(&self) -> String {
        status(&self.project)["instance"]["id"].as_str().unwrap().to_owned()
    }

    /// For an address that no interface of the machine has, as on EC2.
    fn gets_a_certificate(&mut self) -> Pebble {
        let authority = Pebble::start(365 * 86400);
        trust(&std::fs::read(authority.root()).unwrap());
        self.project.file("ca.pem", &std::fs::read_to_string(authority.root()).unwrap());
        let network = format!("network: {{acme_directory: '{}', acme_root: ca.pem}}\n", authority.directory(lab::HOST));
        let text = source_of(&self.project, "deploy.yaml");
        self.project.file("deploy.yaml", &(text + &network));
        self.url = chapter("a certificate for the address", || self.project.up());
        self.serves("fourth");
        let header = format!("Authorization: Token {}", self.token());
        assert_eq!(curl(&self.project, &self.url, &["--header", &header]), (200, "fourth".to_owned()));
        let host = self.url.strip_prefix("https://").unwrap().split(':').next().unwrap().to_owned();
        assert_eq!(curl(&self.project, &format!("http://{host}:18080/"), &[]), (308, format!("https://{host}/")));
        assert!(!self.machine.sh("ip -4 address").contains(&host), "the machine does not have that address");
        chapter("the proxy is confined", || {
            let pid = self.machine.sh("systemctl show -P MainPID devopsctl-edge.service");
            let can = self.machine.sh(&format!("grep -E '^(Uid|CapEff|NoNewPrivs)' /proc/{pid}/status"));
            assert!(can.contains("CapEff:\t0000000000000400") && can.contains("NoNewPrivs:\t1"), "{can}");
            assert!(!can.contains("Uid:\t0"), "{can}");
            let inside = format!("nsenter -t {pid} -m setpriv --reuid $(stat -c %u /proc/{pid}) --clear-groups");
            let hidden = [
                "/run/devopsctl/generations/*",
                "/run/credentials/app@*/*",
                "/var/lib/cloud/instance/*",
                "/opt/devopsctl/releases/*",
            ];
            for files in hidden {
                let read = self.machine.try_sh(&format!("{inside} ls {files}"));
                assert!(!read.status.success(), "it can read {files}");
            }
            let rating = self.machine.sh("systemd-analyze security --no-pager devopsctl-edge.service | tail -n 1");
            eprintln!("   {rating}");
        });
        chapter("the proxy's settings change under load", || {
            let before = self.machine.sh("systemctl show -P MainPID devopsctl-edge.service");
            let visitors = self.visitors(2, self.token(), &[200]);
            let text = source_of(&self.project, "deploy.yaml");
            let limits = text.replace("acme_root: ca.pem", "acme_root: ca.pem, limits: {body_mb: 5}");
            self.project.file("app/files/style.css", "body {}");
            self.project.file("deploy.yaml", &limits.replace("app: {", "app: {static: {/files: files}, "));
            self.project.up();
            let file = format!("{}/files/style.css", self.url);
            assert_eq!(curl(&self.project, &file, &["--header", &header]), (200, "body {}".to_owned()));
            assert_eq!(curl(&self.project, &file, &[]).0, 401);
            println!("   {} answers, none of them wrong", visitors.end(10));
            assert_eq!(self.machine.sh("systemctl show -P MainPID devopsctl-edge.service"), before);
            let reloads = "journalctl -u devopsctl-edge --no-pager | grep -c 'Reloaded devopsctl-edge' || true";
            assert_ne!(self.machine.sh(reloads), "0");
        });
        authority
    }

    /// systemd hears of a generation through a notification, the agent through its verdict: at the same time.
    fn none_served_before_its_checks(&self) {
        let journal = self.machine.sh("journalctl -b --no-pager -o short-monotonic -u 'app@*' -u devopsctl-agent");
        let seen = |before: &str, after: &str| -> Vec<(f64, String)> {
            let times = journal.lines().filter_map(|line| {
                let number = line.split(before).nth(1)?.split(after).next()?.to_owned();
                let at = line.trim_start_matches('[').split(']').next()?.trim().parse().ok()?;
                line.contains(&format!("{before}{number}{after}")).then_some((at, number))
            });
            times.collect()
        };
        let (ready, serve) = (seen("Started app@", ".service"), seen("agent: generation ", " serves"));
        assert!(serve.len() >= 5, "{journal}");
        for (at, number) in serve {
            let near = ready.iter().any(|(time, other)| *other == number && (at - 30.0..at + 3.0).contains(time));
            assert!(near, "generation {number} served at {at}, before it was ready\n{journal}");
        }
    }

    /// The token and the secrets are on no storage that survives a power failure; then everything is deleted.
    fn leaves_no_token(&self) {
        chapter("the token is on no disk", || {
            let journal = self.machine.try_sh("journalctl --no-pager -o cat").stdout;
            assert!(!journal.is_empty());
            let (id, console) = (self.instance(), self.machine.console());
            let user_data = self.machine.sh("zcat -f /var/lib/cloud/instance/user-data.txt");
            aws(&self.project, async |aws| {
                aws.ec2.stop_instances().instance_ids(id).send().await.unwrap();
            });
            until(400, "it is switched off", || {
                (status(&self.project)["instance"]["state"] == "stopped").then_some(())
            });
            until(400, "its power is off", || self.machine.is_off().then_some(()));
            assert!(self.machine.console().trim_end().ends_with("reboot: Power down"));
            let files = self.project.folder().join("search");
            std::fs::create_dir(&files).unwrap();
            std::fs::write(files.join("journal"), journal).unwrap();
            std::fs::write(files.join("console"), console).unwrap();
            std::fs::write(files.join("user-data"), user_data).unwrap();
            self.machine.disk(&files.join("disk"));
            assert_eq!(holding(&files, MARK), ["disk"]);
            for value in self.tokens.iter().chain(&self.hidden) {
                assert_eq!(holding(&files, value), [""; 0], "{value}");
            }
            std::fs::remove_dir_all(&files).unwrap();
        });
        chapter("down", || {
            self.project.ok("down --sandbox --yes");
            assert!(self.project.run("status --sandbox").shown().contains("not deployed"));
        });
    }
}

/// The times from power-on to the first answer of the last boot.
fn print_boot(machine: &Machine) {
    eprintln!("   {}", machine.sh("systemd-analyze time | head -n 1"));
    let marks = "journalctl -b --no-pager -o short-monotonic | grep -E \
                 'cloud-init.*running|Datasource|bootstrap:|agent: |Started (devopsctl-agent|devopsctl-edge|app@)' | cut -c1-150";
    eprintln!("{}", machine.sh(marks));
}
