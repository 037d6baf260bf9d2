//! What the steps of one run share: where they work, and what they learn on the way.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::aws::{Aws, Machine};
use crate::base::error::{Failure, Result};
use crate::base::event::{Event, Sink, Topic};
use crate::base::interrupt::Interrupt;
use crate::base::secret::Secret;
use crate::config::Deployment;
use crate::release::Release;
use crate::resources::instance::{self, Credits, Image};

/// Everything that a step may ask for.
pub struct Context {
    /// The clients.
    pub aws: Aws,
    /// The deployment's name.
    pub name: String,
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// Who works: the user's or the role session's name.
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
    known: Mutex<Known>,
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

/// What stands when a run begins, as far as its steps have need of it.
#[derive(Debug, Default)]
pub struct Start {
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// Who works: the user's or the role session's name.
    pub by: String,
    /// Whether the instance type has CPU credits.
    pub burstable: bool,
    /// The newest image's id, if the region has it.
    pub image: Option<String>,
    /// What is known already.
    pub known: Known,
}

/// What one step finds out and another needs. The graph's edges see to the order.
#[derive(Debug, Default)]
pub struct Known {
    /// The security group's id.
    pub group: Option<String>,
    /// The launch nonce.
    pub nonce: Option<String>,
    /// The instance profile's id, `AIPA…`.
    pub profile: Option<String>,
    /// The id of the instance that the steps are about.
    pub instance: Option<String>,
    /// When it was launched or last started, in seconds since 1970.
    pub since: i64,
    /// Whether its CPU credits are unlimited.
    pub unlimited: bool,
    /// The token's version.
    pub token: Option<i64>,
    /// The Elastic IP that stays: its id and itself.
    pub address: Option<(String, Ipv4Addr)>,
    /// Whether the instance was launched in this run.
    pub launched: bool,
    /// The token's version that it was launched with.
    pub told: Option<i64>,
    /// The value of `devopsctl:try`, if it was set in this run.
    pub again: Option<String>,
}

impl Context {
    /// Begins with what stands.
    pub fn new(aws: Aws, deployment: &Deployment, start: Start, release: Option<Release>, shared: Shared) -> Self {
        Self {
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
            known: Mutex::new(start.known),
        }
    }

    /// Begins to look up what a launch has to know about the image, so that it is there when the launch begins.
    pub fn look_at_image(self: &Arc<Self>) {
        let context = Arc::clone(self);
        let look = async move { instance::image(&context.aws, &context.machine, context.image_id.as_deref()).await };
        *self.image.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(look));
    }

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

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event.
    pub fn tell(&self, event: Event) {
        self.sink.event(event);
    }

    /// Says what a step waits for.
    pub fn waits(&self, topic: Topic, what: &str) {
        self.tell(Event::Go(topic, what.to_owned()));
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

    /// The security group's id.
    ///
    /// # Errors
    /// When a step runs before the one it needs, which the plan's tests rule out.
    pub fn group(&self) -> Result<String> {
        self.known().group.clone().ok_or_else(|| missing("security group"))
    }

    /// The launch nonce.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn nonce(&self) -> Result<String> {
        self.known().nonce.clone().ok_or_else(|| missing("launch nonce"))
    }

    /// The instance profile's id, `AIPA…`, where it is known.
    pub fn profile(&self) -> Option<String> {
        self.known().profile.clone()
    }

    /// The instance's id.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn instance(&self) -> Result<String> {
        self.known().instance.clone().ok_or_else(|| missing("instance"))
    }

    /// The id of the instance that was launched in this run.
    pub fn launched(&self) -> Option<String> {
        let known = self.known();
        known.instance.clone().filter(|_| known.launched)
    }

    /// When the instance was launched or last started, in seconds since 1970.
    pub fn since(&self) -> i64 {
        self.known().since
    }

    /// Whether the instance's CPU credits are unlimited.
    pub fn unlimited(&self) -> bool {
        self.known().unlimited
    }

    /// The token's version, if there is one.
    pub fn token(&self) -> Option<i64> {
        self.known().token
    }

    /// The token's version that an instance was launched with in this run.
    pub fn told(&self) -> Option<i64> {
        self.known().told
    }

    /// The Elastic IP: its id and itself.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn address(&self) -> Result<(String, Ipv4Addr)> {
        self.known().address.clone().ok_or_else(|| missing("address"))
    }

    /// The token that is to be set.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn fresh(&self) -> Result<Secret> {
        self.fresh.clone().ok_or_else(|| missing("new token"))
    }

    /// The value of `devopsctl:try`, if it was set in this run.
    pub fn again(&self) -> Option<String> {
        self.known().again.clone()
    }

    /// Learned: the value of `devopsctl:try`.
    pub fn set_again(&self, value: &str) {
        self.known().again = Some(value.to_owned());
    }

    /// Learned: the security group's id.
    pub fn set_group(&self, id: &str) {
        self.known().group = Some(id.to_owned());
    }

    /// Learned: the launch nonce.
    pub fn set_nonce(&self, nonce: String) {
        self.known().nonce = Some(nonce);
    }

    /// Learned: the instance profile's id.
    pub fn set_profile(&self, id: &str) {
        self.known().profile = Some(id.to_owned());
    }

    /// Learned: the id of the instance that was launched.
    pub fn set_launched(&self, id: &str) {
        let mut known = self.known();
        (known.instance, known.launched) = (Some(id.to_owned()), true);
    }

    /// Learned: when the instance was launched or last started.
    pub fn set_since(&self, at: i64) {
        self.known().since = at;
    }

    /// Learned: whether the instance's CPU credits are unlimited.
    pub fn set_unlimited(&self, unlimited: bool) {
        self.known().unlimited = unlimited;
    }

    /// Learned: the token's version.
    pub fn set_token(&self, version: i64) {
        self.known().token = Some(version);
    }

    /// Learned: the token's version that an instance was launched with.
    pub fn set_told(&self, version: Option<i64>) {
        self.known().told = version;
    }

    /// Learned: the Elastic IP.
    pub fn set_address(&self, id: &str, ip: Ipv4Addr) {
        self.known().address = Some((id.to_owned(), ip));
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
    Failure::failed("another step has failed").next("run the same command again").cutting_short()
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
