//! The state of the sandbox's AWS: one snapshot in memory, renewed only after a possible change.
//!
//! A machine that polls its metadata each second causes no call to the emulator, and still sees a new tag at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use serde::Deserialize;
use tokio::sync::{Mutex, Notify};

use crate::base::error::Result;

use super::emulator::Client;

/// All instances at one moment.
#[derive(Debug, Default, Deserialize)]
pub struct View {
    /// In every region and every state.
    pub instances: Vec<Instance>,
    /// The ids of all volumes.
    pub volumes: Vec<String>,
    /// Seconds until the emulator changes one of them without a call.
    next_change: Option<f64>,
}

/// The attributes of an instance that the sandbox needs.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    pub id: String,
    pub account: String,
    pub region: String,
    pub zone: String,
    pub image: String,
    #[serde(default)]
    pub image_name: String,
    pub instance_type: String,
    pub architecture: String,
    pub state: String,
    /// How often it was started or rebooted.
    pub boots: u32,
    pub private_ip: Option<Ipv4Addr>,
    pub public_ip: Option<Ipv4Addr>,
    pub tags: BTreeMap<String, String>,
    pub ingress: Vec<Ingress>,
    pub profile: Option<Profile>,
    /// The public half of its key pair.
    pub key: Option<Key>,
    pub metadata: Metadata,
    /// Whether it has any.
    pub user_data: bool,
    /// The attached volumes besides its own disk.
    pub volumes: Vec<Volume>,
}

/// An attached volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    pub id: String,
    pub gib: u32,
    /// The state of the attachment: `attached`, `detaching` or `busy`.
    pub state: String,
}

/// An ingress rule of a security group.
#[derive(Clone, Debug, Deserialize)]
pub struct Ingress {
    pub protocol: String,
    pub from_port: i32,
    pub to_port: i32,
    /// A CIDR block.
    pub cidr: String,
}

/// The key pair of an instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    pub name: String,
    /// As OpenSSH writes it.
    pub public: String,
}

/// The associated instance profile.
#[derive(Clone, Debug, Deserialize)]
pub struct Profile {
    /// The id of the association.
    pub association: String,
    pub arn: String,
    pub id: String,
    /// `None`: the profile holds no role.
    pub role: Option<String>,
}

/// The instance's metadata options.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    pub enabled: bool,
    pub tags: bool,
}

impl View {
    /// The instance of that id.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }
}

impl Instance {
    /// Whether its state is `running`.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// Whether its security groups allow a TCP connection from `peer` to `port`.
    pub fn allows_ingress(&self, peer: Ipv4Addr, port: u16) -> bool {
        self.ingress.iter().any(|rule| rule.allows(peer, port))
    }
}

impl Ingress {
    fn allows(&self, peer: Ipv4Addr, port: u16) -> bool {
        let port = i32::from(port);
        let matches = match self.protocol.as_str() {
            "-1" => true,
            "tcp" | "6" => self.from_port <= port && port <= self.to_port,
            _ => false,
        };
        matches && self.cidr.parse().is_ok_and(|block: Ipv4Net| block.contains(&peer))
    }
}

struct Snapshot {
    view: Arc<View>,
    /// How many changes it includes.
    changes: u64,
    /// When the emulator changes something without a call.
    until: Option<Instant>,
}

/// Holds the snapshot.
pub struct AwsState {
    client: Client,
    changes: AtomicU64,
    changed: Notify,
    snapshot: Mutex<Snapshot>,
}

impl AwsState {
    /// A state that has not been read yet.
    pub fn new(client: Client) -> Self {
        let snapshot = Snapshot { view: Arc::default(), changes: 0, until: None };
        Self { client, changes: AtomicU64::new(1), changed: Notify::new(), snapshot: Mutex::new(snapshot) }
    }

    /// The emulator that it reads from.
    pub fn emulator(&self) -> &Client {
        &self.client
    }

    /// Invalidates the snapshot, after a call that may have changed something.
    pub fn invalidate(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// The current state.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub async fn current(&self) -> Result<Arc<View>> {
        let mut snapshot = self.snapshot.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        if snapshot.changes != changes || snapshot.until.is_some_and(|until| until <= Instant::now()) {
            let view: View = self.client.ask_json("aws-state").await?;
            let until = view.next_change.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
            *snapshot = Snapshot { view: Arc::new(view), changes, until };
        }
        Ok(snapshot.view.clone())
    }

    /// Returns when the state may have changed since the last snapshot.
    pub async fn changed(&self) {
        let until = self.snapshot.lock().await.until;
        match until {
            None => self.changed.notified().await,
            Some(until) => {
                let _ = tokio::time::timeout_at(until.into(), self.changed.notified()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: &str, from_port: i32, to_port: i32, cidr: &str) -> Ingress {
        Ingress { protocol: protocol.into(), from_port, to_port, cidr: cidr.into() }
    }

    #[test]
    fn a_rule_matches_by_protocol_port_and_address() {
        let local = Ipv4Addr::LOCALHOST;
        assert!(rule("tcp", 80, 80, "0.0.0.0/0").allows(local, 80));
        assert!(rule("tcp", 0, 65535, "127.0.0.0/8").allows(local, 443));
        assert!(rule("6", 80, 90, "127.0.0.1/32").allows(local, 85));
        assert!(rule("-1", -1, -1, "0.0.0.0/0").allows(local, 22));
        assert!(!rule("tcp", 80, 80, "0.0.0.0/0").allows(local, 81));
        assert!(!rule("udp", 80, 80, "0.0.0.0/0").allows(local, 80));
        assert!(!rule("tcp", 80, 80, "203.0.113.0/24").allows(local, 80));
    }
}
