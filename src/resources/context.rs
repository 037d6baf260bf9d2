//! Shared state of the steps of one run: clients, settings, and the outputs of finished steps.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::aws::{Aws, Machine};
use crate::base::error::{Failure, Result};
use crate::base::event::{Event, Sink};
use crate::base::interrupt::Interrupt;
use crate::base::secret::Secret;
use crate::config::Deployment;
use crate::release::Release;
use crate::resources::instance::{self, Credits, Image};
use crate::resources::kinds::{Id, Kind};
use crate::resources::outputs::{Output, Outputs};

/// The context of one step: the run's shared state and the step's resource.
#[derive(Clone)]
pub struct Context {
    run: Arc<Run>,
    id: Id,
}

impl Deref for Context {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

/// The shared state of one run.
pub struct Run {
    /// The clients.
    pub aws: Aws,
    /// The deployment's name.
    pub name: String,
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The caller: the name of the user or role session.
    pub by: String,
    /// The instance's subnet, if not in the default VPC.
    pub subnet: Option<String>,
    /// EC2's name of the instance type.
    pub instance_type: String,
    /// The root disk, GiB.
    pub disk_gib: u32,
    /// The CPU credits of a launch, if the type has them.
    pub credits: Option<Credits>,
    /// The image.
    pub machine: Machine,
    /// How to wait for a new instance.
    pub health: Health,
    /// The release to run; `None` for `down`.
    pub release: Option<Release>,
    /// The image's id, if the region has it.
    image_id: Option<String>,
    /// The pending lookup of the image's properties for a launch.
    image: Mutex<Option<JoinHandle<Result<Image>>>>,
    interrupt: Interrupt,
    sink: Arc<dyn Sink>,
    fresh: Option<Secret>,
    secrets: BTreeMap<String, Secret>,
    failed: AtomicBool,
    outputs: Mutex<Outputs>,
}

/// How to wait for a new instance before it takes over.
#[derive(Clone, Debug)]
pub struct Health {
    /// The app's own health timeout, seconds.
    pub timeout: u32,
    /// The time limit of the commands in `app.release`, seconds, if there are any.
    pub release_timeout: Option<u32>,
    /// The command that prints the token.
    pub token: String,
}

/// What was read before the run, as far as its steps need it.
#[derive(Debug, Default)]
pub struct Start {
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The caller: the name of the user or role session.
    pub by: String,
    /// Whether the instance type has CPU credits.
    pub burstable: bool,
    /// The newest image's id, if the region has it.
    pub image: Option<String>,
    /// The outputs of existing resources.
    pub outputs: Outputs,
}

impl Context {
    /// Starts a run.
    pub fn new(aws: Aws, deployment: &Deployment, start: Start, release: Option<Release>, shared: Shared) -> Self {
        let run = Run {
            machine: aws.machine(&deployment.instance),
            aws,
            name: deployment.name.clone(),
            account: start.account,
            partition: start.partition,
            by: start.by,
            subnet: deployment.network.subnet.clone(),
            instance_type: deployment.instance.kind.clone(),
            disk_gib: deployment.instance.disk_gib,
            credits: start.burstable.then(|| Credits::at_launch(deployment.instance.cpu_credits)),
            health: Health {
                timeout: deployment.health.timeout,
                release_timeout: deployment.app.release_timeout(),
                token: shared.token,
            },
            image_id: start.image,
            image: Mutex::default(),
            release,
            interrupt: shared.interrupt,
            sink: shared.sink,
            fresh: shared.fresh,
            secrets: shared.secrets,
            failed: AtomicBool::new(false),
            outputs: Mutex::new(start.outputs),
        };
        Self { run: Arc::new(run), id: Id::of(Kind::Instance) }
    }

    /// The same run, for a step of this resource.
    #[must_use]
    pub fn about(&self, id: &Id) -> Self {
        Self { run: Arc::clone(&self.run), id: id.clone() }
    }

    /// The resource of the step.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Shows what the step waits for.
    pub fn waits(&self, what: &str) {
        self.tell(Event::Go(self.id.to_string().into(), what.to_owned()));
    }

    /// Sets the output of the step's resource.
    pub fn learn(&self, output: impl Output) {
        self.learn_of(&self.id, output);
    }

    /// Starts to look up the image's properties, so that the result is there when the launch starts.
    pub fn look_at_image(&self) {
        let run = Arc::clone(&self.run);
        let look = async move { instance::image(&run.aws, &run.machine, run.image_id.as_deref()).await };
        *self.image.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(look));
    }
}

impl Run {
    /// The image's properties that a launch needs.
    ///
    /// # Errors
    /// The region has no such image, or the account may not use it.
    pub async fn image(&self) -> Result<Image> {
        let begun = self.image.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun {
            Some(look) => look.await.unwrap_or_else(|_| Err(missing("image"))),
            None => instance::image(&self.aws, &self.machine, self.image_id.as_deref()).await,
        }
    }

    /// The sink for events.
    pub fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    /// The same, for background work that sends events during the step.
    pub fn shared_sink(&self) -> Arc<dyn Sink> {
        self.sink.clone()
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The output of a resource, if there is one.
    pub fn known<T: Output>(&self, id: &Id) -> Option<T> {
        self.outputs().get(id)
    }

    /// The output of a resource.
    ///
    /// # Errors
    /// A step ran before one of its dependencies, which the tests of the plan exclude.
    pub fn output<T: Output>(&self, id: &Id) -> Result<T> {
        self.known(id).ok_or_else(|| missing(&id.to_string()))
    }

    /// Sets the output of a resource.
    pub fn learn_of(&self, id: &Id, output: impl Output) {
        self.outputs().set(id.clone(), output);
    }

    /// Changes the output of a resource, if there is one.
    pub fn change<T: Output>(&self, id: &Id, change: impl FnOnce(&mut T)) {
        self.outputs().change(id, change);
    }

    /// Sends an event.
    pub fn tell(&self, event: Event) {
        self.sink.event(event);
    }

    /// Whether waiting must end: the user stopped the command, or another step failed.
    pub fn interrupted(&self) -> bool {
        self.interrupt.asked() || self.failed.load(Ordering::SeqCst)
    }

    /// The error of a command that the user stopped, if so.
    pub fn stopped(&self) -> Option<Failure> {
        self.interrupt.check().err()
    }

    /// Marks the run as failed: other steps stop waiting, because the next run of the command waits again.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Runs a read-only operation, and drops it if the user stops the command.
    ///
    /// # Errors
    /// The operation's own error, or that the user stopped the command.
    pub async fn or_interrupt<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.interrupt.or(work).await
    }

    /// Returns an error once waiting must end: for loops that wait.
    ///
    /// # Errors
    /// The user stopped the command, or another step failed.
    pub fn check_interrupt(&self) -> Result<()> {
        match self.stopped() {
            Some(stopped) => Err(stopped),
            None if self.interrupted() => Err(overtaken()),
            None => Ok(()),
        }
    }

    /// The new token.
    ///
    /// # Errors
    /// The command provided none, which is a bug.
    pub fn fresh(&self) -> Result<Secret> {
        self.fresh.clone().ok_or_else(|| missing("new token"))
    }

    /// The new value of this secret.
    ///
    /// # Errors
    /// The command provided none, which is a bug.
    pub fn secret(&self, name: &str) -> Result<Secret> {
        self.secrets.get(name).cloned().ok_or_else(|| missing(&format!("new value of {name}")))
    }
}

/// What a command shares with the steps of its run.
pub struct Shared {
    /// Whether the user stopped the command.
    pub interrupt: Interrupt,
    /// The sink for events.
    pub sink: Arc<dyn Sink>,
    /// The command that prints the token.
    pub token: String,
    /// The new token. It is not part of the plan, because a plan can be printed.
    pub fresh: Option<Secret>,
    /// The new values of secrets, by name; as the token, they are not part of the plan.
    pub secrets: BTreeMap<String, Secret>,
}

/// The error of a step that stopped because another one failed.
fn overtaken() -> Failure {
    Failure::failed("another step failed").next("run the same command again").cutting_short()
}

fn missing(what: &str) -> Failure {
    Failure::failed(format!("the {what} is not known")).next("run the same command again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_was_cut_short_is_known_without_its_text() {
        let cut = overtaken().standing("x").mapped(&|text| text.to_uppercase());
        assert!(cut.is_cut_short());
        assert!(!Failure::failed(overtaken().what()).next("x").is_cut_short());
    }
}
