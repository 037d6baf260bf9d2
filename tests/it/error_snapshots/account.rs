//! An account for tests whose instances are entries in the emulator and do not boot, used with real AWS settings.

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

/// The account, which ends with its project.
pub struct Account {
    pub project: Project,
    deploy: String,
    /// Whether the emulator keeps the account as [`Account::stand`] makes it.
    kept: Cell<bool>,
}

impl Account {
    /// An empty account in which AWS has no delays.
    pub fn start() -> Self {
        let project = Project::unbooted();
        let deploy = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap() + "\nregion: us-east-1\n";
        let account = Self { project, deploy, kept: Cell::new(false) };
        account.reset();
        account
    }

    /// Writes `deploy.yaml` with additional lines.
    pub fn deploy(&self, more: &str) {
        self.project.file("deploy.yaml", &format!("{}{more}\n", self.deploy));
    }

    /// Deletes everything in the account.
    pub fn reset(&self) {
        control(&self.project, "reset");
        control(&self.project, "delays?all=0");
        self.deploy("");
    }

    /// Resets the account to the deployed example. It is deployed once, and restored afterwards.
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
            // The folder may not exist.
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

    /// A command with the account's credentials.
    pub fn typed(&self, line: &str) -> Command {
        let mut command = typed(&self.project, line);
        self.sign(&mut command);
        command.env(HASTE, "60").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command. It is shown without the options that keep it from waiting and asking.
    pub fn run(&self, line: &str) -> Ran {
        let shown = line.replace(" --no-wait", "").replace(" --yes", "");
        Ran::new(&shown, &self.typed(line).output().unwrap())
    }

    /// Runs a command and stores its error.
    #[track_caller]
    pub fn shown(&self, name: &str, line: &str, code: i32) {
        super::keep(&self.project, name, self.run(line).code(code));
    }

    /// Denies an action on a resource to the command line's user.
    pub fn deny(&self, action: &str, resource: &str) {
        let statement = json!({"Effect": "Deny", "Action": action, "Resource": resource});
        let document = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        self.console(async |aws| {
            let put = aws.iam.put_user_policy().user_name("devopsctl").policy_name("deny").policy_document(document);
            put.send().await.unwrap();
        });
    }

    /// Removes the denial.
    pub fn allow(&self) {
        self.console(async |aws| {
            aws.iam.delete_user_policy().user_name("devopsctl").policy_name("deny").send().await.unwrap();
        });
    }

    /// The log of all calls, a line each.
    pub fn log(&self) -> String {
        fs::read_to_string(self.project.state().join("devopsctl/sandbox/api.log")).unwrap()
    }

    /// Calls AWS as an administrator.
    pub fn console<T>(&self, work: impl AsyncFnOnce(Aws) -> T) -> T {
        aws(&self.project, work)
    }
}

/// The only instance that is not terminated.
pub async fn instance(aws: &Aws) -> String {
    let found = aws.ec2.describe_instances().send().await.unwrap();
    let mut all = found.reservations().iter().flat_map(|reservation| reservation.instances());
    let lives = |instance: &&aws_sdk_ec2::types::Instance| {
        instance.state().and_then(|state| state.name()).is_some_and(|name| name.as_str() != "terminated")
    };
    all.find(lives).unwrap().instance_id().unwrap().to_owned()
}
