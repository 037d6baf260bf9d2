//! An account whose instances are entries alone, as whoever has real credentials sees it: nobody waits for an app here.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use devopsctl::aws::Aws;
use devopsctl::aws::retry::HASTE;
use serde_json::{Value, json};

use super::typed;
use crate::console::{aws, control, file};
use crate::project::{Project, Ran};

/// It ends with its project.
pub struct Account {
    pub project: Project,
    deploy: String,
    /// Whether the emulator keeps the account as [`Account::stand`] makes it.
    kept: Cell<bool>,
}

impl Account {
    /// An account in which nothing stands, in which AWS does everything at once.
    pub fn start() -> Self {
        let project = Project::unbooted();
        let deploy = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap() + "\nregion: us-east-1\n";
        let account = Self { project, deploy, kept: Cell::new(false) };
        account.reset();
        account
    }

    /// Writes `deploy.yaml` with these lines more.
    pub fn deploy(&self, more: &str) {
        self.project.file("deploy.yaml", &format!("{}{more}\n", self.deploy));
    }

    /// Nothing stands, and all is as on the first day.
    pub fn reset(&self) {
        control(&self.project, "reset");
        control(&self.project, "delays?all=0");
        self.deploy("");
    }

    /// The example stands, and nothing else. It is brought up once; after that the account begins again from there.
    #[track_caller]
    pub fn stand(&self) {
        let (keys, kept) = (self.project.state().join("devopsctl/keys"), self.project.folder().with_file_name("kept"));
        let copy = |from: &Path, to: &Path| {
            assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
        };
        if self.kept.replace(true) {
            control(&self.project, "restore?name=up");
            control(&self.project, "delays?all=0");
            self.deploy("");
            // They may be gone, or never have been made.
            let _ = fs::remove_dir_all(&keys);
            copy(&kept, &keys);
        } else {
            self.reset();
            self.run("up --no-wait").ok();
            control(&self.project, "save?name=up");
            copy(&keys, &kept);
        }
    }

    /// Gives a command the credentials of this account.
    pub fn sign(&self, command: &mut Command) {
        let handle: Value = serde_json::from_str(&file(&self.project)).unwrap();
        let variables = [
            ("AWS_ENDPOINT_URL", "endpoint"),
            ("AWS_ACCESS_KEY_ID", "access_key"),
            ("AWS_SECRET_ACCESS_KEY", "secret_key"),
        ];
        command.envs(variables.map(|(name, key)| (name, handle[key].as_str().unwrap().to_owned())));
    }

    /// A command line, ready to be run.
    pub fn typed(&self, line: &str) -> Command {
        let mut command = typed(&self.project, line);
        self.sign(&mut command);
        command.env(HASTE, "60").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command line. How a user would type it is shown: what keeps it from waiting and asking is not of interest.
    pub fn run(&self, line: &str) -> Ran {
        let shown = line.replace(" --no-wait", "").replace(" --yes", "");
        Ran::new(&shown, &self.typed(line).output().unwrap())
    }

    /// Runs a command line and keeps what it says.
    #[track_caller]
    pub fn shown(&self, name: &str, line: &str, code: i32) {
        super::keep(&self.project, name, self.run(line).code(code));
    }

    /// From now on, whoever uses the command line may not do this to that, as an administrator could say it.
    pub fn deny(&self, action: &str, resource: &str) {
        let statement = json!({"Effect": "Deny", "Action": action, "Resource": resource});
        let document = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        self.console(async |aws| {
            let put = aws.iam.put_user_policy().user_name("devopsctl").policy_name("deny").policy_document(document);
            put.send().await.unwrap();
        });
    }

    /// He may again.
    pub fn allow(&self) {
        self.console(async |aws| {
            aws.iam.delete_user_policy().user_name("devopsctl").policy_name("deny").send().await.unwrap();
        });
    }

    /// Every call that has been answered, a line each.
    pub fn log(&self) -> String {
        fs::read_to_string(self.project.state().join("devopsctl/sandbox/api.log")).unwrap()
    }

    /// What an administrator does in the console.
    pub fn console<T>(&self, work: impl AsyncFnOnce(Aws) -> T) -> T {
        aws(&self.project, work)
    }
}

/// The only instance that lives.
pub async fn instance(aws: &Aws) -> String {
    let found = aws.ec2.describe_instances().send().await.unwrap();
    let mut all = found.reservations().iter().flat_map(|reservation| reservation.instances());
    let lives = |instance: &&aws_sdk_ec2::types::Instance| {
        instance.state().and_then(|state| state.name()).is_some_and(|name| name.as_str() != "terminated")
    };
    all.find(lives).unwrap().instance_id().unwrap().to_owned()
}
