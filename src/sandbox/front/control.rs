//! The front's own paths, for the command line alone: they need the secret from the state folder.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::http::{refused, same_secret};
use super::super::{Machine, Status};
use super::{Front, SECRET};
use crate::base::error::Result;

/// Answers one of them.
pub async fn answer(front: &Front, headers: &HeaderMap, call: &str) -> Response {
    let control = front.handle.control.as_bytes();
    if !headers.get(SECRET).is_some_and(|secret| same_secret(secret.as_bytes(), control)) {
        return refused();
    }
    let mut fields = call.splitn(2, '/');
    let answer = match (fields.next().unwrap_or_default(), fields.next().unwrap_or_default()) {
        ("url", place) => url(front, place).await,
        ("status", "") => status(front).await.map(Some),
        ("latency", milliseconds) => Ok(set(&front.latency, milliseconds)),
        ("line", speed) => Ok(set(&front.line, speed)),
        ("emulator", call) => tell_emulator(front, call).await,
        ("stop", "") => {
            front.stop.notify_one();
            Ok(Some(String::new()))
        }
        _ => Ok(None),
    };
    match answer {
        Ok(Some(body)) => body.into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, format!("the sandbox has no {call}")).into_response(),
        Err(failure) => {
            let why = failure.reasons().into_iter().fold(failure.what().to_owned(), |all, why| format!("{all}: {why}"));
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

/// Where ADDRESS/PORT can be reached on loopback.
async fn url(front: &Front, place: &str) -> Result<Option<String>> {
    let parsed = place
        .split_once('/')
        .and_then(|(address, port)| Some((address.parse::<Ipv4Addr>().ok()?, port.parse::<u16>().ok()?)));
    match parsed {
        Some((address, port)) => Ok(Some(front.gateway.listen(address, port).await?.to_string())),
        None => Ok(None),
    }
}

/// Has each call of a command take so many milliseconds longer, as where AWS is far away; or has its uploads pass at so many
/// bytes a second.
fn set(what: &AtomicU64, value: &str) -> Option<String> {
    what.store(value.parse().ok()?, Ordering::Relaxed);
    Some(String::new())
}

async fn status(front: &Front) -> Result<String> {
    let view = front.world.now().await?;
    let instances = view.instances.iter().filter(|instance| instance.state != "terminated");
    let machines = instances.map(|instance| Machine {
        id: instance.id.clone(),
        region: instance.region.clone(),
        state: instance.state.clone(),
        public_ip: instance.public_ip,
        folder: front.folder.machine(&instance.id),
    });
    let status = Status {
        endpoint: front.handle.endpoint.clone(),
        pid: front.handle.pid,
        ends_in: front.idle.left().as_secs(),
        instances: machines.collect(),
    };
    Ok(serde_json::to_string(&status).unwrap_or_default())
}

/// What tests ask of the emulator: other delays, a launch that dies.
async fn tell_emulator(front: &Front, call: &str) -> Result<Option<String>> {
    let body = front.world.emulator().ask(call).await?;
    front.world.touch();
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}
