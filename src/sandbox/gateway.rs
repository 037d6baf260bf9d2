//! The internet of the sandbox: a port on loopback for each public address and port that somebody asks for.
//!
//! A connection goes where AWS would take it: to the instance that has the address at that moment, and only if its
//! security groups let the caller in. Otherwise it is closed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::base::error::{Failure, Result};

use super::idle::Idle;
use super::machine;
use super::state::Folder;
use super::world::World;

/// The ports that are tried first, so that a URL is easy to remember.
const FIRST_PORTS: std::ops::Range<u16> = 18080..18180;

/// Where the ports of HTTPS are found: on the public address itself, which a certificate may be for. The emulator's are all
/// loopback's, and on Linux whoever likes may listen on any of those.
const SECURE: [(u16, u16); 2] = [(443, 18443), (80, 18080)];

/// All listeners. They stay for as long as the sandbox lives, so that a URL keeps its meaning.
pub struct Gateway {
    folder: Folder,
    world: Arc<World>,
    idle: Arc<Idle>,
    listeners: Mutex<HashMap<(Ipv4Addr, u16), SocketAddr>>,
}

impl Gateway {
    /// A gateway without listeners.
    pub fn new(folder: Folder, world: Arc<World>, idle: Arc<Idle>) -> Self {
        Self { folder, world, idle, listeners: Mutex::default() }
    }

    /// Where `port` of `address` can be reached on loopback.
    ///
    /// # Errors
    /// When no port is free at all.
    pub async fn listen(self: &Arc<Self>, address: Ipv4Addr, port: u16) -> Result<SocketAddr> {
        let mut listeners = self.listeners.lock().await;
        if let Some(local) = listeners.get(&(address, port)) {
            return Ok(*local);
        }
        let failed = |error: std::io::Error| {
            Failure::failed(format!("no port on loopback leads to {address}:{port}"))
                .because(error.to_string())
                .next("end what holds many ports of this machine, then run the same command again")
        };
        let mut open = |listener: TcpListener, port| {
            let local = listener.local_addr().map_err(failed)?;
            listeners.insert((address, port), local);
            tokio::spawn(self.clone().accept(listener, address, port));
            Ok(local)
        };
        if port != 443 {
            return open(bind().await.map_err(failed)?, port);
        }
        // Who gives a certificate comes by both.
        for (port, at) in SECURE {
            open(TcpListener::bind((address, at)).await.map_err(failed)?, port)?;
        }
        Ok((address, SECURE[0].1).into())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, address: Ipv4Addr, port: u16) {
        loop {
            match listener.accept().await {
                Ok((caller, peer)) => {
                    self.idle.used();
                    tokio::spawn(self.clone().lead(caller, peer, address, port));
                }
                // Out of file descriptors, most likely: wait for some to be closed.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }

    /// Joins a caller to the machine, until both sides have said all. Returning closes the caller's connection.
    async fn lead(self: Arc<Self>, mut caller: TcpStream, peer: SocketAddr, address: Ipv4Addr, port: u16) {
        let Ok(view) = self.world.now().await else { return };
        let IpAddr::V4(peer) = peer.ip() else { return };
        let instance = view.instances.iter().find(|instance| instance.runs() && instance.public_ip == Some(address));
        let Some(instance) = instance.filter(|instance| instance.lets_in(peer, port)) else { return };
        let Ok(mut machine) = machine::connect(&self.folder.machine(&instance.id), port).await else { return };
        // A connection that breaks is the business of its two ends.
        let _ = caller.set_nodelay(true);
        let _ = copy_bidirectional(&mut caller, &mut machine).await;
        self.idle.used();
    }
}

async fn bind() -> std::io::Result<TcpListener> {
    for port in FIRST_PORTS {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}
