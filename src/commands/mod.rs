//! One file a verb: gather, decide, do, say.

pub mod cli;
mod completions;
mod cost;
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
mod rollback;
mod sandbox;
mod schema;
mod set_token;
mod ssh;
mod status;
mod token;
mod up;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::aws::{Aws, Settings};
use crate::base::error::{Exit, Failure, Result};
use crate::base::interrupt::Interrupt;
use crate::base::secret::keep_from_dumps;
use crate::commands::cli::{Cli, Globals, SandboxVerb, Verb};
use crate::config::{self, Deployment};
use crate::engine::health::Watch;
use crate::engine::observe::{self, Ask, Observed};
use crate::resources::context::Shared;
use crate::resources::ssh::{self as ssh_doors, Door};
use crate::resources::{instance, inventory, security_group};
use crate::sandbox as local;
use crate::ui::{self, Style, Ui};

/// Runs the verb; an error is shown on stderr and becomes the exit code.
pub fn main(cli: Cli) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no reason is known");
        show(&Failure::bug(format!("{what} ({place})")));
        std::process::exit(Exit::Failed as i32);
    }));
    let json = cli.globals.json;
    match outcome(cli) {
        Ok(code) => code,
        Err(failure) => {
            show(&failure);
            if json {
                Ui::new(Style::default()).document(&documents::Error::from(&failure));
            }
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn show(failure: &Failure) {
    eprint!("{}", ui::render(failure, console_width(), ui::color()));
}

fn outcome(cli: Cli) -> Result<ExitCode> {
    // The supervisor needs nothing of what follows.
    if let Verb::Sandbox(SandboxVerb::Supervise(arguments)) = cli.verb {
        return local::supervise(&arguments).map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    if let Verb::Sandbox(SandboxVerb::Join(arguments)) = cli.verb {
        return local::join(&arguments).map(|()| ExitCode::SUCCESS);
    }
    // The sandbox's processes hold tokens of its own apps alone, and its tests read /proc of them.
    if !matches!(cli.verb, Verb::Sandbox(_)) {
        keep_from_dumps();
    }
    log_calls(cli.globals.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::failed("this machine gives no threads")
            .because(error.to_string())
            .next("end other programs, then try again")
    })?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let ui = Ui::new(Style { quiet: cli.globals.quiet, verbose: cli.globals.verbose });
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
        Verb::Logs(arguments) => logs::run(&Session::open(globals, ui, Purpose::Look).await?, &arguments).await,
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

/// What a verb is for. What only looks changes nothing in AWS, not even what was left there by mistake; `logs` alone asks for the
/// log by a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Look,
    Change,
}

/// What every verb that talks to AWS begins with.
struct Session {
    purpose: Purpose,
    /// Whether it was said already what an ssh left.
    warned: AtomicBool,
    globals: Globals,
    ui: Ui,
    deployment: Deployment,
    aws: Aws,
    interrupt: Interrupt,
}

impl Session {
    /// Reads `deploy.yaml`, then finds the AWS that it goes to: mistakes in the file come before any call.
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

    /// Looks at all that stands, and tidies up as [`Session::tidy`] does.
    async fn observe(&self, ask: Ask<'_>) -> Result<Observed> {
        let observed = observe::observe(&self.aws, self.name(), ask).await?;
        self.tidy(observed.security_group.present(), &observed.instances).await;
        Ok(observed)
    }

    /// The same, of what runs alone.
    async fn running(&self) -> Result<Observed> {
        let observed = observe::running(&self.aws, self.name()).await?;
        self.tidy(observed.security_group.present(), &observed.instances).await;
        Ok(observed)
    }

    /// Closes what an ssh left that was killed; a verb that only looks says once that it is there. What may not be closed is told,
    /// and stops nothing.
    async fn tidy(&self, group: Option<&security_group::State>, instances: &[instance::State]) {
        let group = group.map(|group| (group.id.as_str(), group.doors.as_slice()));
        if self.purpose == Purpose::Look {
            if self.warned.swap(true, Ordering::Relaxed) {
                return;
            }
            return warn_of_open_doors(&self.ui, group.map_or(&[], |(_, doors)| doors), instances);
        }
        let (closed, failures) = ssh_doors::sweep(&self.aws, group, instances).await;
        for door in closed {
            self.ui.say(format!(
                "port 22 was open still for {}, of an ssh that was killed: it is closed now",
                door.source
            ));
        }
        for failure in failures {
            self.ui.warn(format!("{failure}: {}", failure.reasons().join(": ")));
        }
    }

    /// The instance that serves, if it runs.
    fn serving<'a>(&self, observed: &'a Observed) -> Result<&'a instance::State> {
        instance::serving(&observed.instances, &observed.addresses)
            .filter(|instance| instance.phase == instance::Phase::Running)
            .ok_or_else(|| {
                Failure::failed(format!("no instance of {} runs", self.name()))
                    .next(format!("bring it up: {}", self.command("up")))
            })
    }

    /// Where an instance is reached.
    fn ip_of(&self, instance: &instance::State, observed: &Observed) -> Result<Ipv4Addr> {
        inventory::ip(instance, &observed.addresses).ok_or_else(|| {
            Failure::failed(format!("{} has no public address", instance.id))
                .because("the instance has none, and no Elastic IP leads to it")
                .next(format!("mend it: {}", self.command("up")))
        })
    }

    fn name(&self) -> &str {
        &self.deployment.name
    }

    fn shared(&self) -> Shared {
        Shared {
            interrupt: self.interrupt.clone(),
            sink: self.ui.sink(),
            up: self.command("up"),
            status: self.command("status"),
            fresh: None,
        }
    }

    fn watch(&self) -> Watch<'_> {
        Watch {
            aws: &self.aws,
            name: self.name(),
            timeout: self.deployment.health.timeout,
            sink: self.ui.sink_ref(),
            up: self.command("up"),
            status: self.command("status"),
        }
    }

    /// That the question was answered no. `verb` shows what it was about.
    fn declined(&self, verb: &str) -> Failure {
        Failure::new(Exit::Interrupted, "nothing was changed, as you asked")
            .next(format!("look at it first: {}", self.command(verb)))
    }

    /// A command that goes to the same place, to be shown.
    fn command(&self, verb: &str) -> String {
        let mut command = crate::base::error::command(&format!("{verb}{}", self.aws.flag()));
        if let Some(file) = &self.globals.file {
            command.push_str(&format!(" --file {}", file.display()));
        }
        command + &elsewhere(self.globals.region.as_deref(), self.globals.profile.as_deref())
    }
}

/// The AWS that a command goes to. `region`: the deployment's, if it has one.
async fn connect(globals: &Globals, ui: &Ui, interrupt: &Interrupt, region: Option<&String>) -> Result<Aws> {
    let region = globals.region.as_ref().or(region).cloned();
    let settings = Settings { region, profile: globals.profile.clone() };
    ui.wait(if globals.sandbox { "asking the sandbox" } else { "asking AWS" });
    if globals.sandbox {
        let talk = ui.clone();
        let options = local::Options { machines: globals.machine, ..local::Options::default() };
        let handle = interrupt.or(local::ensure(&options, &move |line| talk.say(line))).await?;
        return Ok(Aws::sandbox(&settings, handle));
    }
    if globals.machine.is_some() {
        return Err(Failure::new(Exit::Usage, "--machine is for the local AWS only")
            .next("add --sandbox, or leave --machine out"));
    }
    interrupt.or(Aws::account(&settings)).await
}

/// Says what an ssh left that was killed.
fn warn_of_open_doors(ui: &Ui, doors: &[Door], instances: &[instance::State]) {
    for door in ssh_doors::left(doors, instances) {
        ui.warn(format!(
            "port 22 is open still for {}, of an ssh that was killed: the next command that changes something closes it",
            door.source
        ));
    }
}

/// What sends a shown command to that region and profile.
fn elsewhere(region: Option<&str>, profile: Option<&str>) -> String {
    let flags = [("region", region), ("profile", profile)];
    flags.into_iter().filter_map(|(flag, value)| Some(format!(" --{flag} {}", value?))).collect()
}

fn deployment(globals: &Globals) -> Result<Deployment> {
    load(globals, &file(globals)?)
}

/// Reads the file that [`file`] found.
fn load(globals: &Globals, file: &Path) -> Result<Deployment> {
    config::load(file, globals.file.is_some())
}

/// The file that says what is deployed.
fn file(globals: &Globals) -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::Usage, "the working directory is gone")
            .because(error.to_string())
            .next("go to the project's folder")
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

/// With `-v`, every call on stderr. `RUST_LOG` still has the last word.
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
