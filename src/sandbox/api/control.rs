//! The control paths, for the command line only: they need the secret from the state folder.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::http::{refused, same_secret};
use super::super::{Machine, Status};
use super::{Api, SECRET};
use crate::base::error::Result;

/// Answers a control call.
pub async fn answer(api: &Api, headers: &HeaderMap, call: &str) -> Response {
    let control = api.handle.control.as_bytes();
    if !headers.get(SECRET).is_some_and(|secret| same_secret(secret.as_bytes(), control)) {
        return refused();
    }
    let mut fields = call.splitn(2, '/');
    let answer = match (fields.next().unwrap_or_default(), fields.next().unwrap_or_default()) {
        ("url", target) => url(api, target).await,
        ("status", "") => status(api).await.map(Some),
        ("latency", milliseconds) => Ok(set(&api.latency, milliseconds)),
        ("upload-rate", bytes) => Ok(set(&api.upload_rate, bytes)),
        ("emulator", call) => control_emulator(api, call).await,
        ("stop", "") => {
            api.stop.notify_one();
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

/// The local address of ADDRESS/PORT.
async fn url(api: &Api, target: &str) -> Result<Option<String>> {
    let parsed = target
        .split_once('/')
        .and_then(|(address, port)| Some((address.parse::<Ipv4Addr>().ok()?, port.parse::<u16>().ok()?)));
    match parsed {
        Some((address, port)) => Ok(Some(api.gateway.listen(address, port).await?.to_string())),
        None => Ok(None),
    }
}

/// Sets the extra latency or the upload rate.
fn set(setting: &AtomicU64, value: &str) -> Option<String> {
    setting.store(value.parse().ok()?, Ordering::Relaxed);
    Some(String::new())
}

async fn status(api: &Api) -> Result<String> {
    let view = api.aws_state.current().await?;
    let instances = view.instances.iter().filter(|instance| instance.state != "terminated");
    let machines = instances.map(|instance| Machine {
        id: instance.id.clone(),
        region: instance.region.clone(),
        state: instance.state.clone(),
        public_ip: instance.public_ip,
        folder: api.state_dir.machine(&instance.id),
    });
    let status = Status {
        endpoint: api.handle.endpoint.clone(),
        pid: api.handle.pid,
        ends_in: api.idle.remaining().as_secs(),
        instances: machines.collect(),
    };
    Ok(serde_json::to_string(&status).unwrap_or_default())
}

/// Passes a test's control call to the emulator, such as other delays or a launch that fails.
async fn control_emulator(api: &Api, call: &str) -> Result<Option<String>> {
    let body = api.aws_state.emulator().ask(call).await?;
    api.aws_state.invalidate();
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}
