//! One file per verb: read the input, decide, act, report.

pub mod cli;
mod completions;
mod cost;
mod data;
mod doctor;
pub mod documents;
mod down;
mod init;
mod list;
mod logs;
mod open;
mod plan;
mod policy;
mod releases;
mod remote;
mod rollback;
mod run;
mod sandbox;
mod schema;
mod secrets;
mod set_token;
mod ssh;
mod status;
mod token;
mod up;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use crate::aws::{Aws, Settings};
use crate::base::error::{Exit, Failure, Result};
use crate::base::interrupt::Interrupt;
use crate::base::next::Next;
use crate::base::secret::{Secret, keep_from_dumps};
use crate::commands::cli::{Cli, Globals, SandboxVerb, Verb};
use crate::config::{self, Deployment};
use crate::engine::health::Watch;
use crate::engine::observe::{self, Ask, Observed};
use crate::resources::context::Shared;
use crate::resources::ssh::{self as ssh_session, SshRule};
use crate::resources::{instance, inventory, security_group};
use crate::sandbox as local;
use crate::ui::{self, Style, Ui};

/// Runs the verb. An error is printed on stderr and sets the exit code.
pub fn main(cli: Cli) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("unknown reason");
        show(&Failure::bug(format!("{what} ({place})")));
        std::process::exit(Exit::Failed as i32);
    }));
    let (json, invocation) = (cli.globals.json, cli.globals.invocation());
    match outcome(cli) {
        Ok(code) => code,
        Err(failure) => {
            let failure = invocation.failure(failure);
            show(&failure);
            if json {
                Ui::new(Style::default(), invocation).document(&documents::Error::from(&failure));
            }
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn show(failure: &Failure) {
    eprint!("{}", ui::render(failure, console_width(), ui::color()));
}

fn outcome(cli: Cli) -> Result<ExitCode> {
    // The supervisor of one program needs no runtime.
    if let Verb::Sandbox(SandboxVerb::Supervise(arguments)) = cli.verb {
        return local::supervise(&arguments).map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    if let Verb::Sandbox(SandboxVerb::Join(arguments)) = cli.verb {
        return local::join(&arguments).map(|()| ExitCode::SUCCESS);
    }
    // The sandbox's processes contain only tokens of its own apps, and tests read their /proc.
    if !matches!(cli.verb, Verb::Sandbox(_)) {
        keep_from_dumps();
    }
    log_calls(cli.globals.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::failed("cannot start threads on this machine")
            .because(error.to_string())
            .next("stop other programs, then run the same command again")
    })?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let style = Style { quiet: cli.globals.quiet, verbose: cli.globals.verbose };
    let ui = Ui::new(style, cli.globals.invocation());
    let ended = verb(cli.verb, cli.globals, ui.clone()).await;
    ui.make_way();
    ended
}

async fn verb(verb: Verb, globals: Globals, ui: Ui) -> Result<ExitCode> {
    match verb {
        Verb::Init(arguments) => init::run(&globals, &ui, arguments),
        Verb::Up(arguments) => up::run(&Session::open(globals, ui, Purpose::Change).await?, &arguments).await,
        Verb::Plan(arguments) => plan::run(&Session::open(globals, ui, Purpose::Look).await?, &arguments).await,
        Verb::Rollback(arguments) => {
            rollback::run(&Session::open(globals, ui, Purpose::Change).await?, &arguments).await
        }
        Verb::Releases => releases::run(&Session::open(globals, ui, Purpose::Look).await?).await,
        Verb::SetToken(arguments) => set_token::run(globals, ui, &arguments).await,
        Verb::Token => token::run(&Session::open(globals, ui, Purpose::Look).await?).await,
        Verb::Secrets(verb) => secrets::run(globals, ui, verb).await,
        Verb::Logs(arguments) => logs::run(&Session::open(globals, ui, Purpose::Look).await?, &arguments).await,
        Verb::Run(arguments) => run::run(globals, ui, &arguments).await,
        Verb::Ssh(arguments) => ssh::run(globals, ui, &arguments).await,
        Verb::Status => status::run(&Session::open(globals, ui, Purpose::Look).await?).await,
        Verb::Open => open::run(&Session::open(globals, ui, Purpose::Look).await?).await,
        Verb::Cost => cost::run(&globals, &ui).await,
        Verb::Doctor => Box::pin(doctor::run(globals, ui)).await,
        Verb::List => list::run(globals, ui).await,
        Verb::Down(arguments) => down::run(&down::open(globals, ui, &arguments).await?, &arguments).await,
        Verb::Policy(arguments) => policy::run(&globals, &ui, arguments),
        Verb::Schema => schema::run(&ui),
        Verb::Completions(arguments) => completions::completions(&ui, &arguments),
        Verb::Man(arguments) => completions::man(&ui, &arguments),
        Verb::Sandbox(verb) => sandbox::run(verb, &globals, &ui).await,
    }
}

/// What a verb is for. A verb that looks changes nothing in AWS and cleans up nothing; only `logs` sets a tag, which asks the
/// agent for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Look,
    Change,
}

/// The context of every verb that calls AWS.
struct Session {
    purpose: Purpose,
    /// Whether the warning about an open SSH port was already shown.
    warned: AtomicBool,
    globals: Globals,
    ui: Ui,
    deployment: Deployment,
    aws: Aws,
    interrupt: Interrupt,
}

impl Session {
    /// Reads `deploy.yaml`, then connects to AWS: mistakes in the file are reported before any call.
    async fn open(globals: Globals, ui: Ui, purpose: Purpose) -> Result<Self> {
        let deployment = deployment(&globals)?;
        Self::with(globals, ui, purpose, deployment).await
    }

    async fn with(globals: Globals, ui: Ui, purpose: Purpose, mut deployment: Deployment) -> Result<Self> {
        let interrupt = Interrupt::listen(ui.sink());
        let aws = connect(&globals, &ui, &interrupt, deployment.region.as_ref()).await?;
        aws.can_boot(&deployment.instance)?;
        deployment.network.https &= aws.has_authority(&deployment.network);
        Ok(Self { purpose, warned: AtomicBool::new(false), globals, ui, deployment, aws, interrupt })
    }

    /// Observes all resources, and cleans up as [`Session::tidy`] does.
    async fn observe(&self, ask: Ask<'_>) -> Result<Observed> {
        let observed = observe::observe(&self.aws, self.name(), ask).await?;
        self.tidy(observed.security_group.present(), &observed.instances).await;
        Ok(observed)
    }

    /// Observes only what serves the app, and cleans up as [`Session::tidy`] does.
    async fn running(&self) -> Result<Observed> {
        let observed = observe::running(&self.aws, self.name()).await?;
        self.tidy(observed.security_group.present(), &observed.instances).await;
        Ok(observed)
    }

    /// Closes SSH ports that killed sessions left open; a verb that only looks warns once. A port that cannot be closed is a
    /// warning.
    async fn tidy(&self, group: Option<&security_group::State>, instances: &[instance::State]) {
        let group = group.map(|group| (group.id.as_str(), group.ssh_rules.as_slice()));
        if self.purpose == Purpose::Look {
            if self.warned.swap(true, Ordering::Relaxed) {
                return;
            }
            return warn_of_ssh_rules(&self.ui, group.map_or(&[], |(_, rules)| rules), instances);
        }
        let (closed, failures) = ssh_session::sweep(&self.aws, group, instances).await;
        for rule in closed {
            self.ui
                .say(format!("closed port 22 for {}, which an ssh session that was killed had left open", rule.source));
        }
        for failure in failures {
            self.ui.warn(format!("{failure}: {}", failure.reasons().join(": ")));
        }
    }

    /// The serving instance, if it is running.
    fn serving<'a>(&self, observed: &'a Observed) -> Result<&'a instance::State> {
        instance::serving(&observed.instances, &observed.addresses)
            .filter(|instance| instance.phase == instance::Phase::Running)
            .ok_or_else(|| {
                Failure::failed(format!("no instance of {} is running", self.name()))
                    .next(Next::from("deploy it: ").run("up"))
            })
    }

    /// The public address of an instance.
    fn ip_of(&self, instance: &instance::State, observed: &Observed) -> Result<Ipv4Addr> {
        inventory::ip(instance, &observed.addresses).ok_or_else(|| {
            Failure::failed(format!("{} has no public address", instance.id))
                .because("the instance has none of its own, and no Elastic IP is associated with it")
                .next(Next::from("repair it: ").run("up"))
        })
    }

    fn name(&self) -> &str {
        &self.deployment.name
    }

    fn shared(&self) -> Shared {
        Shared {
            interrupt: self.interrupt.clone(),
            sink: self.ui.sink(),
            token: self.ui.run("token"),
            fresh: None,
            secrets: BTreeMap::new(),
        }
    }

    fn watch(&self) -> Watch<'_> {
        let (timeout, release_timeout) = (self.deployment.health.timeout, self.deployment.app.release_timeout());
        Watch { aws: &self.aws, name: self.name(), timeout, release_timeout, sink: self.ui.sink_ref() }
    }
}

/// Reads a secret from standard input, at most this many bytes. `what` names it, and `next` says how to provide it.
fn from_stdin(what: &str, most: u64, next: &str) -> Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(most).read_to_string(&mut text).map_err(|error| {
        let failure = Failure::new(Exit::Usage, format!("cannot read {what} from standard input"));
        failure.because(error.to_string()).next(next)
    })?;
    // echo and editors add a line end, which is not part of it.
    Ok(text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).into())
}

/// The error when the user answered no. `verb` shows what the question was about.
fn declined(verb: &str) -> Failure {
    Failure::new(Exit::Interrupted, "you answered no; nothing was changed").next(Next::from("review it: ").run(verb))
}

/// Connects to the account or to the sandbox. `region`: the deployment's, if it has one.
async fn connect(globals: &Globals, ui: &Ui, interrupt: &Interrupt, region: Option<&String>) -> Result<Aws> {
    let region = globals.region.as_ref().or(region).cloned();
    let settings = Settings { region, profile: globals.profile.clone() };
    ui.wait(if globals.sandbox { "connecting to the sandbox" } else { "connecting to AWS" });
    if globals.sandbox {
        let talk = ui.clone();
        let options = local::Options { machines: globals.machine, ..local::Options::default() };
        let handle = interrupt.or(local::ensure(&options, &move |line| talk.say(line))).await?;
        return Ok(Aws::sandbox(&settings, handle));
    }
    if globals.machine.is_some() {
        return Err(Failure::new(Exit::Usage, "--machine needs --sandbox").next("add --sandbox, or omit --machine"));
    }
    interrupt.or(Aws::account(&settings)).await
}

/// Warns of SSH ports that killed sessions left open.
fn warn_of_ssh_rules(ui: &Ui, rules: &[SshRule], instances: &[instance::State]) {
    for rule in ssh_session::left(rules, instances) {
        ui.warn(format!(
            "port 22 is open for {}: an ssh session was killed; the next command that changes something closes it",
            rule.source
        ));
    }
}

fn deployment(globals: &Globals) -> Result<Deployment> {
    load(globals, &file(globals)?)
}

/// Reads the file that [`file`] found.
fn load(globals: &Globals, file: &Path) -> Result<Deployment> {
    config::load(file, globals.file.is_some())
}

/// The path of the `deploy.yaml`.
fn file(globals: &Globals) -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::Usage, "the working directory does not exist")
            .because(error.to_string())
            .next("change to the project's folder")
    })?;
    config::find(globals.file.as_deref(), &here)
}

fn console_width() -> usize {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        return usize::from(console::Term::stderr().size().1);
    }
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

/// With `-v`, prints every call on stderr. `RUST_LOG` takes precedence.
fn log_calls(verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let level = if verbose { "devopsctl=debug" } else { "off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(ui::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
}
