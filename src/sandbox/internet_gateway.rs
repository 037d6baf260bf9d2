//! The internet gateway of the sandbox: one local port for each public address and port that a command asks for.
//!
//! A connection goes where AWS would route it: to the instance that has the address at that moment, and only if its
//! security groups allow the peer. Otherwise it is closed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::base::error::{Failure, Result};

use super::aws_state::AwsState;
use super::idle_timer::IdleTimer;
use super::machine;
use super::state_dir::StateDir;

/// The preferred local ports: a URL should be easy to remember.
const FIRST_PORTS: std::ops::Range<u16> = 18080..18180;

/// The local ports of HTTPS and its redirect. They listen on the public address itself, because a certificate can be for that
/// address. The emulator's public addresses are all in 127.0.0.0/8, and Linux lets any user listen there.
const SECURE: [(u16, u16); 2] = [(443, 18443), (80, 18080)];

/// All listeners. They stay until the sandbox ends, so a URL keeps its meaning.
pub struct InternetGateway {
    state_dir: StateDir,
    aws_state: Arc<AwsState>,
    idle: Arc<IdleTimer>,
    listeners: Mutex<HashMap<(Ipv4Addr, u16), SocketAddr>>,
}

impl InternetGateway {
    /// A gateway without listeners.
    pub fn new(state_dir: StateDir, aws_state: Arc<AwsState>, idle: Arc<IdleTimer>) -> Self {
        Self { state_dir, aws_state, idle, listeners: Mutex::default() }
    }

    /// The local address of `port` of `address`.
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
                .next("end the program that uses many local ports, then run the same command again")
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
        // A certificate authority validates through either port.
        for (port, at) in SECURE {
            open(TcpListener::bind((address, at)).await.map_err(failed)?, port)?;
        }
        Ok((address, SECURE[0].1).into())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, address: Ipv4Addr, port: u16) {
        loop {
            match listener.accept().await {
                Ok((client, peer)) => {
                    self.idle.restart();
                    tokio::spawn(self.clone().forward(client, peer, address, port));
                }
                // Most likely out of file descriptors: wait until some are closed.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }

    /// Forwards a connection to the machine until both sides have closed it. Returning closes the client's side.
    async fn forward(self: Arc<Self>, mut client: TcpStream, peer: SocketAddr, address: Ipv4Addr, port: u16) {
        let Ok(view) = self.aws_state.current().await else { return };
        let IpAddr::V4(peer) = peer.ip() else { return };
        let instance =
            view.instances.iter().find(|instance| instance.is_running() && instance.public_ip == Some(address));
        let Some(instance) = instance.filter(|instance| instance.allows_ingress(peer, port)) else { return };
        let Ok(mut machine) = machine::connect(&self.state_dir.machine(&instance.id), port).await else { return };
        // A broken connection concerns its two ends only.
        let _ = client.set_nodelay(true);
        let _ = copy_bidirectional(&mut client, &mut machine).await;
        self.idle.restart();
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
