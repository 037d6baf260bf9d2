//! What the steps of one run share: where they work, and what they learn on the way.

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

/// What one step of a run works with: what all its steps share, and which resource it is about.
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

/// What the steps of one run share.
pub struct Run {
    /// The clients.
    pub aws: Aws,
    /// The deployment's name.
    pub name: String,
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The caller: the user's or the role session's name.
    pub by: String,
    /// Where the instance goes, if not into the default VPC.
    pub subnet: Option<String>,
    /// EC2's name of the instance type.
    pub instance_type: String,
    /// The root disk, GiB.
    pub disk_gib: u32,
    /// What an instance is launched with, if its type has CPU credits.
    pub credits: Option<Credits>,
    /// What boots.
    pub machine: Machine,
    /// How a new instance is waited for.
    pub health: Health,
    /// What is to run; nothing when everything goes.
    pub release: Option<Release>,
    /// Its image's id, if the region has it.
    image_id: Option<String>,
    /// What else a launch has to know about the image, on its way.
    image: Mutex<Option<JoinHandle<Result<Image>>>>,
    interrupt: Interrupt,
    sink: Arc<dyn Sink>,
    fresh: Option<Secret>,
    failed: AtomicBool,
    outputs: Mutex<Outputs>,
}

/// How a new instance is waited for before it takes over.
#[derive(Clone, Debug)]
pub struct Health {
    /// The app's own health timeout, seconds.
    pub timeout: u32,
    /// The command that brings a corrected app there.
    pub up: String,
    /// The command that shows what runs.
    pub status: String,
    /// The command that prints the token.
    pub token: String,
}

/// What was found out before a run begins, as far as its steps need it.
#[derive(Debug, Default)]
pub struct Start {
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The caller: the user's or the role session's name.
    pub by: String,
    /// Whether the instance type has CPU credits.
    pub burstable: bool,
    /// The newest image's id, if the region has it.
    pub image: Option<String>,
    /// What stands already.
    pub outputs: Outputs,
}

impl Context {
    /// Begins a run with what stands.
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
                up: shared.up,
                status: shared.status,
                token: shared.token,
            },
            image_id: start.image,
            image: Mutex::default(),
            release,
            interrupt: shared.interrupt,
            sink: shared.sink,
            fresh: shared.fresh,
            failed: AtomicBool::new(false),
            outputs: Mutex::new(start.outputs),
        };
        Self { run: Arc::new(run), id: Id::of(Kind::Instance) }
    }

    /// The same run, for a step about this resource.
    #[must_use]
    pub fn about(&self, id: &Id) -> Self {
        Self { run: Arc::clone(&self.run), id: id.clone() }
    }

    /// The resource that the step is about.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Says what the step waits for.
    pub fn waits(&self, what: &str) {
        self.tell(Event::Go(self.id.to_string().into(), what.to_owned()));
    }

    /// Learns something of the resource that the step is about.
    pub fn learn(&self, output: impl Output) {
        self.learn_of(&self.id, output);
    }

    /// Begins to look up what a launch has to know about the image, so that it is there when the launch begins.
    pub fn look_at_image(&self) {
        let run = Arc::clone(&self.run);
        let look = async move { instance::image(&run.aws, &run.machine, run.image_id.as_deref()).await };
        *self.image.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(look));
    }
}

impl Run {
    /// What a launch has to know about the image.
    ///
    /// # Errors
    /// That the region has no such image, or that the account may not use it.
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

    /// The same, for work that sends events while the step waits.
    pub fn shared_sink(&self) -> Arc<dyn Sink> {
        self.sink.clone()
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a resource, if anything is.
    pub fn known<T: Output>(&self, id: &Id) -> Option<T> {
        self.outputs().get(id)
    }

    /// What is known of a resource.
    ///
    /// # Errors
    /// When a step runs before one that it needs, which the plan's tests rule out.
    pub fn output<T: Output>(&self, id: &Id) -> Result<T> {
        self.known(id).ok_or_else(|| missing(&id.to_string()))
    }

    /// Learns something of a resource.
    pub fn learn_of(&self, id: &Id, output: impl Output) {
        self.outputs().set(id.clone(), output);
    }

    /// Changes what is known of a resource, if anything is.
    pub fn change<T: Output>(&self, id: &Id, change: impl FnOnce(&mut T)) {
        self.outputs().change(id, change);
    }

    /// Sends an event.
    pub fn tell(&self, event: Event) {
        self.sink.event(event);
    }

    /// Whether waiting is to end: the user wants to stop, or another step has failed.
    pub fn interrupted(&self) -> bool {
        self.interrupt.asked() || self.failed.load(Ordering::SeqCst)
    }

    /// The error of a command that the user has stopped, if that is so.
    pub fn stopped(&self) -> Option<Failure> {
        self.interrupt.check().err()
    }

    /// A step has failed: what others only wait for need not be waited for any more, as the same command does so again.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Runs what changes nothing, and drops it when the user wants to stop.
    ///
    /// # Errors
    /// Its own, or that the user stopped it.
    pub async fn or_interrupt<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.interrupt.or(work).await
    }

    /// An error once waiting is to end: for loops that wait.
    ///
    /// # Errors
    /// That the user wants to stop, or that another step has failed.
    pub fn check_interrupt(&self) -> Result<()> {
        match self.stopped() {
            Some(stopped) => Err(stopped),
            None if self.interrupted() => Err(overtaken()),
            None => Ok(()),
        }
    }

    /// The token that is to be set.
    ///
    /// # Errors
    /// That the verb gave none, which is a mistake of the verb.
    pub fn fresh(&self) -> Result<Secret> {
        self.fresh.clone().ok_or_else(|| missing("new token"))
    }
}

/// What a command shares with the steps that it runs.
pub struct Shared {
    /// Whether the user wants to stop.
    pub interrupt: Interrupt,
    /// The sink for events.
    pub sink: Arc<dyn Sink>,
    /// The command that brings a corrected app there.
    pub up: String,
    /// The command that shows what runs.
    pub status: String,
    /// The command that prints the token.
    pub token: String,
    /// The token that is to be set. It is no part of the plan, which can be printed.
    pub fresh: Option<Secret>,
}

/// What a step ends with that gave up because of another one.
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
    fn that_a_step_was_cut_short_is_no_matter_of_its_words() {
        let cut = overtaken().standing("x").mapped(&|text| text.to_uppercase());
        assert!(cut.is_cut_short());
        assert!(!Failure::failed(overtaken().what()).next("x").is_cut_short());
    }
}
