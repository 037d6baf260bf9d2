//! What the steps of one run share: where they work, and what they learn on the way.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::interrupt::Interrupt;
use super::observe::Observed;
use crate::aws::{Aws, Machine};
use crate::config::Deployment;
use crate::error::{Failure, Result};
use crate::release::Release;
use crate::resources::instance;
use crate::ui::{Event, Sink, Topic};

/// Everything that a step may ask for.
pub struct Context {
    /// The clients.
    pub aws: Aws,
    /// The deployment's name.
    pub name: String,
    /// The account's number.
    pub account: String,
    /// Where the instance goes, if not into the default VPC.
    pub subnet: Option<String>,
    /// EC2's name of the instance type.
    pub instance_type: String,
    /// The root disk, GiB.
    pub disk_gib: u32,
    /// What boots.
    pub machine: Machine,
    /// Its image's id, if the region has it.
    pub image: Option<String>,
    /// What is to run; nothing when everything goes.
    pub release: Option<Release>,
    interrupt: Interrupt,
    sink: Arc<dyn Sink>,
    learned: Mutex<Learned>,
}

/// What one step finds out and another needs. The graph's edges see to the order.
#[derive(Debug, Default)]
struct Learned {
    group: Option<String>,
    nonce: Option<String>,
    instance: Option<String>,
    token: Option<i64>,
    ip: Option<Ipv4Addr>,
    again: Option<String>,
}

impl Context {
    /// Begins with what was observed.
    pub fn new(
        aws: Aws,
        deployment: &Deployment,
        observed: &Observed,
        release: Option<Release>,
        interrupt: Interrupt,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let learned = Learned {
            group: observed.security_group.as_ref().map(|group| group.id.clone()),
            nonce: observed.security_group.as_ref().and_then(|group| group.nonce.clone()),
            instance: instance::alive(&observed.instances).map(|instance| instance.id.clone()),
            token: observed.token.map(|token| token.version),
            ip: observed.addresses.first().map(|address| address.ip),
            again: None,
        };
        Self {
            machine: aws.machine(&deployment.instance),
            aws,
            name: deployment.name.clone(),
            account: observed.account.clone(),
            subnet: deployment.network.subnet.clone(),
            instance_type: deployment.instance.kind.clone(),
            disk_gib: deployment.instance.disk_gib,
            image: observed.image.clone(),
            release,
            interrupt,
            sink,
            learned: Mutex::new(learned),
        }
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

    /// Whether the user wants to stop.
    pub fn interrupted(&self) -> bool {
        self.interrupt.asked()
    }

    /// An error once the user wants to stop: for loops that wait.
    ///
    /// # Errors
    /// That he does.
    pub fn check_interrupt(&self) -> Result<()> {
        self.interrupt.check()
    }

    /// The security group's id.
    ///
    /// # Errors
    /// When a step runs before the one it needs, which the plan's tests rule out.
    pub fn group(&self) -> Result<String> {
        self.learned().group.clone().ok_or_else(|| missing("security group"))
    }

    /// The security group's id, or nothing where EC2 is to say so.
    pub fn group_or_empty(&self) -> String {
        self.learned().group.clone().unwrap_or_default()
    }

    /// The launch nonce.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn nonce(&self) -> Result<String> {
        self.learned().nonce.clone().ok_or_else(|| missing("launch nonce"))
    }

    /// The instance's id.
    ///
    /// # Errors
    /// As [`Context::group`].
    pub fn instance(&self) -> Result<String> {
        self.learned().instance.clone().ok_or_else(|| missing("instance"))
    }

    /// The token's version, if there is one.
    pub fn token(&self) -> Option<i64> {
        self.learned().token
    }

    /// The Elastic IP, if there is one.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.learned().ip
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

    /// Learned: the instance's id.
    pub fn set_instance(&self, id: &str) {
        self.learned().instance = Some(id.to_owned());
    }

    /// Learned: the token's version.
    pub fn set_token(&self, version: i64) {
        self.learned().token = Some(version);
    }

    /// Learned: the Elastic IP.
    pub fn set_ip(&self, ip: Ipv4Addr) {
        self.learned().ip = Some(ip);
    }
}

fn missing(what: &str) -> Failure {
    Failure::failed(format!("the {what} is not known")).next("run the same command again")
}
