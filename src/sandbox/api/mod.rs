//! The AWS endpoint of the sandbox. It forwards every call to the emulator, byte for byte.
//!
//! - It does not change a request, so signatures stay valid.
//! - It logs each call ([`call_log`]) and invalidates [`AwsState`] after a possible change.
//! - It refuses every request that is not a signed call ([`admission`]), because other users of this machine and web pages can
//!   connect to it too.

mod admission;
mod call;
mod call_log;
mod control;
mod throttle;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use super::Handle;
use super::aws_state::AwsState;
use super::http;
use super::idle_timer::IdleTimer;
use super::internet_gateway::InternetGateway;
use super::state_dir::StateDir;

use call::Call;
pub use call_log::CallLog;

/// The prefix of the sandbox's own paths. No bucket can have this name.
pub const CONTROL: &str = "/_devopsctl/";
/// The header with their secret.
pub const SECRET: &str = "x-devopsctl-sandbox";

/// The largest body of a call, except for S3. User-data and parameters are far smaller.
const LARGEST_CALL: usize = 8 << 20;
/// Time limit for such a body.
const LONGEST_CALL: Duration = Duration::from_secs(20);
/// The largest error body that is parsed for its code.
const LARGEST_ERROR: usize = 1 << 20;

/// The context of every call.
pub struct Api {
    pub handle: Handle,
    pub state_dir: StateDir,
    pub aws_state: Arc<AwsState>,
    pub gateway: Arc<InternetGateway>,
    pub idle: Arc<IdleTimer>,
    pub log: CallLog,
    /// Extra latency of the command line's calls in milliseconds, to simulate distance to AWS.
    pub latency: AtomicU64,
    /// Limit for the command line's uploads to S3 in bytes per second. 0: no limit.
    pub upload_rate: Arc<AtomicU64>,
    /// Notified when a command asks the sandbox to end.
    pub stop: Notify,
}

/// Listens on loopback, on this port or on any free port.
///
/// # Errors
/// When the port is taken.
pub async fn listen(port: Option<u16>) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await
}

/// Answers calls until the sandbox ends.
pub async fn serve(api: Arc<Api>, listener: TcpListener) {
    http::serve(listener, move |request| answer(api.clone(), request)).await;
}

async fn answer(api: Arc<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !admission::is_local(&parts) {
        return http::refused();
    }
    let path = parts.uri.path();
    if let Some(call) = path.strip_prefix(CONTROL).filter(|_| admission::is_canonical(path)) {
        let call = parts.uri.query().map_or_else(|| call.to_owned(), |query| format!("{call}?{query}"));
        return control::answer(&api, &parts.headers, &call).await;
    }
    if !admission::is_call(&parts) {
        return http::refused();
    }
    // The caller is not authenticated yet, so errors go to the log only.
    pass(&api, parts, body).await.unwrap_or_else(|(status, why)| {
        warn!(%status, why, "a call failed");
        status.into_response()
    })
}

async fn pass(api: &Api, parts: Parts, body: Body) -> Result<Response, (StatusCode, String)> {
    let began = Instant::now();
    let mut call = Call::new(&parts);
    let body = if call.service == "s3" {
        if call.is_from_user() && call.action == "PutObject" {
            throttle::throttled(body, api.upload_rate.clone())
        } else {
            body
        }
    } else {
        let body = timeout(LONGEST_CALL, to_bytes(body, LARGEST_CALL)).await;
        let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "its body takes too long".to_owned()))?;
        let body = body.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        call.read(&parts.headers, &body);
        Body::from(body)
    };
    if call.is_from_user() {
        api.idle.restart();
        match api.latency.load(Ordering::Relaxed) {
            0 => {}
            milliseconds => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        }
    }
    let passed = api.aws_state.emulator().pass(Request::from_parts(parts, body)).await;
    let response = passed.map_err(|why| (StatusCode::BAD_GATEWAY, format!("the emulator does not answer: {why}")))?;
    if call.is_change() {
        api.aws_state.invalidate();
    }
    let (mut parts, body) = response.into_parts();
    // It is for the connection to the emulator only.
    parts.headers.remove(header::CONNECTION);
    let mut body = Body::new(body);
    let mut code = None;
    if !parts.status.is_success() && !parts.headers.contains_key(header::TRANSFER_ENCODING) {
        let bytes =
            to_bytes(body, LARGEST_ERROR).await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
        code = call::error_code(&bytes);
        body = Body::from(bytes);
    }
    api.log.write(&call, parts.status.as_u16(), code.as_deref(), began.elapsed());
    Ok(Response::from_parts(parts, body))
}
