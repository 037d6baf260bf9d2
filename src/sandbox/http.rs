//! The HTTP server of every listener of the sandbox, with a time limit for unfinished requests.
//!
//! HTTP/1.1 only, as the emulator speaks nothing else: no request is translated, so none can change its meaning.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Sleep, sleep};

/// Time limit for the head of a request, and for an idle connection.
const HEAD: Duration = Duration::from_secs(30);
/// Longest pause within a body.
const PAUSE: Duration = Duration::from_secs(10);

/// Answers requests for as long as it is polled.
pub async fn serve<L, A, F>(mut listener: L, answer: A)
where
    L: Listener,
    A: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send,
{
    loop {
        let (stream, _) = listener.accept().await;
        let answer = answer.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let answered = answer(request.map(|body| Body::new(Paused::new(Body::new(body), PAUSE))));
            async move { Ok::<_, Infallible>(answered.await) }
        });
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // An error of a connection concerns its client only.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The response to a refused request. It gives no reason.
pub fn refused() -> Response {
    StatusCode::FORBIDDEN.into_response()
}

/// Whether a browser sent the request. AWS clients send none of these headers.
pub fn by_browser(headers: &HeaderMap) -> bool {
    let browser_header =
        |name: &str| matches!(name, "origin" | "access-control-request-method") || name.starts_with("sec-fetch-");
    headers.keys().any(|name| browser_header(name.as_str()))
}

/// Compares two secrets in constant time.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |differs, (one, other)| std::hint::black_box(differs | (one ^ other)));
    one.len() == other.len() && differs == 0
}

/// A body that fails when the client pauses for too long.
struct Paused {
    body: Body,
    pause: Duration,
    /// Set while a read waits for the client, so a slow reader does not count.
    until: Option<Pin<Box<Sleep>>>,
}

impl Paused {
    fn new(body: Body, pause: Duration) -> Self {
        Self { body, pause, until: None }
    }
}

impl HttpBody for Paused {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let paused = self.get_mut();
        match Pin::new(&mut paused.body).poll_frame(context) {
            Poll::Ready(frame) => {
                paused.until = None;
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let until = paused.until.get_or_insert_with(|| Box::pin(sleep(paused.pause)));
                until.as_mut().poll(context).map(|()| Some(Err(axum::Error::new(Late))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The client paused for too long.
#[derive(Debug)]
struct Late;

impl std::fmt::Display for Late {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the body does not arrive")
    }
}

impl std::error::Error for Late {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_never_comes_fails_and_one_that_comes_does_not() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        let never = Body::new(Paused::new(never, Duration::from_millis(10)));
        assert!(axum::body::to_bytes(never, 9).await.is_err());
        let whole = Body::new(Paused::new(Body::from("whole"), Duration::from_millis(10)));
        assert_eq!(whole.size_hint().exact(), Some(5));
        assert_eq!(axum::body::to_bytes(whole, 9).await.unwrap(), "whole");
    }

    #[tokio::test]
    async fn a_slow_reader_is_not_a_pause_of_the_client() {
        use futures_util::StreamExt;

        // Each part is ready a moment after it was requested.
        let parts = futures_util::stream::unfold(0, async |count| {
            tokio::task::yield_now().await;
            (count < 3).then_some((Ok::<_, Infallible>(Bytes::from("part")), count + 1))
        });
        let mut body = Body::new(Paused::new(Body::from_stream(parts), Duration::from_millis(20))).into_data_stream();
        let mut found = 0;
        while let Some(part) = body.next().await {
            assert_eq!(part.unwrap(), "part");
            found += 1;
            sleep(Duration::from_millis(40)).await;
        }
        assert_eq!(found, 3);
    }

    #[test]
    fn secrets_are_compared_as_a_whole() {
        assert!(same_secret(b"abc", b"abc"));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!same_secret(b"abc", other.as_bytes()));
        }
    }

    #[test]
    fn requests_of_a_browser_are_recognized() {
        let by =
            |name: &'static str| by_browser(&HeaderMap::from_iter([(name.parse().unwrap(), "x".parse().unwrap())]));
        assert!(by("origin") && by("sec-fetch-site") && by("sec-fetch-mode") && by("access-control-request-method"));
        assert!(!by("authorization") && !by("user-agent"));
    }
}
