//! The sandbox's view of its AWS: one snapshot in memory, renewed only when something may have changed.
//!
//! So a machine that asks its metadata each second costs the emulator nothing, and yet sees a new tag at once.

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
    /// Seconds until the next of them changes by itself.
    next_change: Option<f64>,
}

/// An instance, with what the sandbox needs of it.
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
}

/// A rule that lets traffic in.
#[derive(Clone, Debug, Deserialize)]
pub struct Ingress {
    pub protocol: String,
    pub from_port: i32,
    pub to_port: i32,
    /// A block of addresses.
    pub cidr: String,
}

/// The key pair that an instance was launched with.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    pub name: String,
    /// As OpenSSH writes it.
    pub public: String,
}

/// The instance profile that is associated.
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
    /// Whether a machine of it is up.
    pub fn runs(&self) -> bool {
        self.state == "running"
    }

    /// Whether its security groups let a TCP connection to `port` in from `peer`.
    pub fn lets_in(&self, peer: Ipv4Addr, port: u16) -> bool {
        self.ingress.iter().any(|rule| rule.lets_in(peer, port))
    }
}

impl Ingress {
    fn lets_in(&self, peer: Ipv4Addr, port: u16) -> bool {
        let port = i32::from(port);
        let fits = match self.protocol.as_str() {
            "-1" => true,
            "tcp" | "6" => self.from_port <= port && port <= self.to_port,
            _ => false,
        };
        fits && self.cidr.parse().is_ok_and(|block: Ipv4Net| block.contains(&peer))
    }
}

struct Snapshot {
    view: Arc<View>,
    /// The number of changes that it has seen.
    changes: u64,
    /// When something in it changes by itself.
    until: Option<Instant>,
}

/// Keeps the view.
pub struct World {
    client: Client,
    changes: AtomicU64,
    changed: Notify,
    snapshot: Mutex<Snapshot>,
}

impl World {
    /// A world of which nothing is known yet.
    pub fn new(client: Client) -> Self {
        let snapshot = Snapshot { view: Arc::default(), changes: 0, until: None };
        Self { client, changes: AtomicU64::new(1), changed: Notify::new(), snapshot: Mutex::new(snapshot) }
    }

    /// The emulator that it looks at.
    pub fn emulator(&self) -> &Client {
        &self.client
    }

    /// A call that may have changed something has been answered.
    pub fn touch(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// How things stand now.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub async fn now(&self) -> Result<Arc<View>> {
        let mut snapshot = self.snapshot.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        if snapshot.changes != changes || snapshot.until.is_some_and(|until| until <= Instant::now()) {
            let view: View = self.client.ask_json("view").await?;
            let until = view.next_change.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
            *snapshot = Snapshot { view: Arc::new(view), changes, until };
        }
        Ok(snapshot.view.clone())
    }

    /// Returns when things may stand otherwise than at the last look.
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
    fn a_rule_lets_in_by_protocol_port_and_address() {
        let local = Ipv4Addr::LOCALHOST;
        assert!(rule("tcp", 80, 80, "0.0.0.0/0").lets_in(local, 80));
        assert!(rule("tcp", 0, 65535, "127.0.0.0/8").lets_in(local, 443));
        assert!(rule("6", 80, 90, "127.0.0.1/32").lets_in(local, 85));
        assert!(rule("-1", -1, -1, "0.0.0.0/0").lets_in(local, 22));
        assert!(!rule("tcp", 80, 80, "0.0.0.0/0").lets_in(local, 81));
        assert!(!rule("udp", 80, 80, "0.0.0.0/0").lets_in(local, 80));
        assert!(!rule("tcp", 80, 80, "203.0.113.0/24").lets_in(local, 80));
    }
}
