//! What the steps of one run share: where they work, and what they learn on the way.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use super::interrupt::Interrupt;
use super::observe::Observed;
use super::plan::Plan;
use crate::aws::{Aws, Machine};
use crate::config::Deployment;
use crate::error::{Failure, Result};
use crate::release::Release;
use crate::resources::instance::{self, Credits, Image};
use crate::secret::Secret;
use crate::ui::{Event, Sink, Topic};

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
    learned: Mutex<Learned>,
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
}

/// What one step finds out and another needs. The graph's edges see to the order.
#[derive(Debug, Default)]
struct Learned {
    group: Option<String>,
    nonce: Option<String>,
    profile: Option<String>,
    instance: Option<String>,
    launched: bool,
    since: i64,
    unlimited: bool,
    token: Option<i64>,
    told: Option<i64>,
    address: Option<(String, Ipv4Addr)>,
    again: Option<String>,
}

impl Context {
    /// Begins with what was observed. `plan` says which instance and which address it is about.
    pub fn new(
        aws: Aws,
        deployment: &Deployment,
        observed: &Observed,
        plan: &Plan,
        release: Option<Release>,
        shared: Shared,
    ) -> Self {
        let current = observed.instances.iter().find(|instance| plan.instance.as_ref() == Some(&instance.id));
        let learned = Learned {
            group: observed.security_group.as_ref().map(|group| group.id.clone()),
            nonce: observed.security_group.as_ref().and_then(|group| group.nonce.clone()),
            profile: observed.role.as_ref().and_then(|role| role.profile.as_ref()).map(|profile| profile.id.clone()),
            instance: plan.instance.clone(),
            launched: false,
            since: current.map_or(0, |instance| instance.launched),
            unlimited: current.zip(observed.unlimited.as_ref()).is_some_and(|(current, ids)| ids.contains(&current.id)),
            token: observed.token.as_ref().map(|token| token.version),
            told: None,
            address: plan.address.clone(),
            again: None,
        };
        Self {
            machine: aws.machine(&deployment.instance),
            aws,
            name: deployment.name.clone(),
            account: observed.account.clone(),
            partition: observed.partition.clone(),
            by: observed.by.clone(),
            subnet: deployment.network.subnet.clone(),
            instance_type: deployment.instance.kind.clone(),
            disk_gib: deployment.instance.disk_gib,
            credits: observed
                .kind
                .as_ref()
                .filter(|kind| kind.burstable)
                .map(|_| Credits::at_launch(deployment.instance.cpu_credits)),
            health: Health { timeout: deployment.health.timeout, up: shared.up, status: shared.status },
            image_id: observed.image.clone(),
            image: Mutex::default(),
            release,
            interrupt: shared.interrupt,
            sink: shared.sink,
            fresh: shared.fresh,
            failed: AtomicBool::new(false),
            learned: Mutex::new(learned),
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

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.learned().group.clone().ok_or_else(|| missing("security group"))
    }

    /// The launch nonce.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn nonce(&self) -> Result<String> {
        self.learned().nonce.clone().ok_or_else(|| missing("launch nonce"))
    }

    /// The instance profile's id, `AIPA…`, where it is known.
    pub fn profile(&self) -> Option<String> {
        self.learned().profile.clone()
    }

    /// The instance's id.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn instance(&self) -> Result<String> {
        self.learned().instance.clone().ok_or_else(|| missing("instance"))
    }

    /// The id of the instance that was launched in this run.
    pub fn launched(&self) -> Option<String> {
        let learned = self.learned();
        learned.instance.clone().filter(|_| learned.launched)
    }

    /// When the instance was launched or last started, in seconds since 1970.
    pub fn since(&self) -> i64 {
        self.learned().since
    }

    /// Whether the instance's CPU credits are unlimited.
    pub fn unlimited(&self) -> bool {
        self.learned().unlimited
    }

    /// The token's version, if there is one.
    pub fn token(&self) -> Option<i64> {
        self.learned().token
    }

    /// The token's version that an instance was launched with in this run.
    pub fn told(&self) -> Option<i64> {
        self.learned().told
    }

    /// The Elastic IP: its id and itself.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn address(&self) -> Result<(String, Ipv4Addr)> {
        self.learned().address.clone().ok_or_else(|| missing("address"))
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
        self.learned().again.clone()
    }

    /// Learned: the value of `devopsctl:try`.
    pub fn set_again(&self, value: &str) {
        self.learned().again = Some(value.to_owned());
    }

    /// Learned: the security group's id.
    pub fn set_group(&self, id: &str) {
        self.learned().group = Some(id.to_owned());
    }

    /// Learned: the launch nonce.
    pub fn set_nonce(&self, nonce: String) {
        self.learned().nonce = Some(nonce);
    }

    /// Learned: the instance profile's id.
    pub fn set_profile(&self, id: &str) {
        self.learned().profile = Some(id.to_owned());
    }

    /// Learned: the id of the instance that was launched.
    pub fn set_launched(&self, id: &str) {
        let mut learned = self.learned();
        (learned.instance, learned.launched) = (Some(id.to_owned()), true);
    }

    /// Learned: when the instance was launched or last started.
    pub fn set_since(&self, at: i64) {
        self.learned().since = at;
    }

    /// Learned: whether the instance's CPU credits are unlimited.
    pub fn set_unlimited(&self, unlimited: bool) {
        self.learned().unlimited = unlimited;
    }

    /// Learned: the token's version.
    pub fn set_token(&self, version: i64) {
        self.learned().token = Some(version);
    }

    /// Learned: the token's version that an instance was launched with.
    pub fn set_told(&self, version: Option<i64>) {
        self.learned().told = version;
    }

    /// Learned: the Elastic IP.
    pub fn set_address(&self, id: &str, ip: Ipv4Addr) {
        self.learned().address = Some((id.to_owned(), ip));
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
