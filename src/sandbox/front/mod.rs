//! The front: the AWS endpoint of the sandbox. Every call passes through it to the emulator, to the byte.
//!
//! It changes nothing on the way, so signatures stay valid. It notes what was called, tells the world when something may
//! have changed, and refuses every request that is not a signed call ([`admission`]): other users of this machine and
//! pages in a browser can connect to it as well.

mod admission;
mod call;
mod control;
mod line;
mod log;

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
use super::gateway::Gateway;
use super::http;
use super::idle::Idle;
use super::state::Folder;
use super::world::World;

use call::Call;
pub use log::Log;

/// Where the sandbox's own paths begin. No bucket can have such a name.
pub const CONTROL: &str = "/_devopsctl/";
/// The header that opens them.
pub const SECRET: &str = "x-devopsctl-sandbox";

/// The largest body of a call that is not S3's; user-data and parameters are far below.
const LARGEST_CALL: usize = 8 << 20;
/// How long such a body may take.
const LONGEST_CALL: Duration = Duration::from_secs(20);
/// What of an error is looked at for its code.
const LARGEST_ERROR: usize = 1 << 20;

/// All that answering a call needs.
pub struct Front {
    pub handle: Handle,
    pub folder: Folder,
    pub world: Arc<World>,
    pub gateway: Arc<Gateway>,
    pub idle: Arc<Idle>,
    pub log: Log,
    /// How much longer a command's calls take, in milliseconds: AWS is far away.
    pub latency: AtomicU64,
    /// How fast a command's uploads to S3 pass, in bytes a second; 0 is as fast as they come.
    pub line: Arc<AtomicU64>,
    /// Somebody asked the sandbox to end.
    pub stop: Notify,
}

/// Listens on loopback, on that port or on any.
///
/// # Errors
/// When the port is taken.
pub async fn listen(port: Option<u16>) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await
}

/// Answers calls for as long as the sandbox lives.
pub async fn serve(front: Arc<Front>, listener: TcpListener) {
    http::serve(listener, move |request| answer(front.clone(), request)).await;
}

async fn answer(front: Arc<Front>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !admission::is_local(&parts) {
        return http::refused();
    }
    let path = parts.uri.path();
    if let Some(call) = path.strip_prefix(CONTROL).filter(|_| admission::is_canonical(path)) {
        let call = parts.uri.query().map_or_else(|| call.to_owned(), |query| format!("{call}?{query}"));
        return control::answer(&front, &parts.headers, &call).await;
    }
    if !admission::is_call(&parts) {
        return http::refused();
    }
    // The caller is not authenticated yet, so what fails here is told to the log alone.
    pass(&front, parts, body).await.unwrap_or_else(|(status, why)| {
        warn!(%status, why, "a call failed");
        status.into_response()
    })
}

async fn pass(front: &Front, parts: Parts, body: Body) -> Result<Response, (StatusCode, String)> {
    let began = Instant::now();
    let mut call = Call::new(&parts);
    let body = if call.service == "s3" {
        if call.by_user() && call.action == "PutObject" { line::slowed(body, front.line.clone()) } else { body }
    } else {
        let body = timeout(LONGEST_CALL, to_bytes(body, LARGEST_CALL)).await;
        let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "its body takes too long".to_owned()))?;
        let body = body.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        call.read(&parts.headers, &body);
        Body::from(body)
    };
    if call.by_user() {
        front.idle.used();
        match front.latency.load(Ordering::Relaxed) {
            0 => {}
            far => tokio::time::sleep(Duration::from_millis(far)).await,
        }
    }
    let passed = front.world.emulator().pass(Request::from_parts(parts, body)).await;
    let response = passed.map_err(|why| (StatusCode::BAD_GATEWAY, format!("the emulator does not answer: {why}")))?;
    if call.changes() {
        front.world.touch();
    }
    let (mut parts, body) = response.into_parts();
    // Between the front and the emulator only.
    parts.headers.remove(header::CONNECTION);
    let mut body = Body::new(body);
    let mut code = None;
    if !parts.status.is_success() && !parts.headers.contains_key(header::TRANSFER_ENCODING) {
        let bytes =
            to_bytes(body, LARGEST_ERROR).await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
        code = call::error_code(&bytes);
        body = Body::from(bytes);
    }
    front.log.write(&call, parts.status.as_u16(), code.as_deref(), began.elapsed());
    Ok(Response::from_parts(parts, body))
}
