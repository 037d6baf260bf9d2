//! HTTP/1.1, as every listener of the sandbox speaks it: with limits on how long a client may leave a request unfinished.
//!
//! Only HTTP/1.1, because the emulator speaks nothing else: a request is never translated, so it cannot change its meaning.

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

/// How long a client may take for the head of a request, and how long a connection may stay unused.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may pause within a body.
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
            // Errors of a connection concern its client alone.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The answer to a request that is refused: it tells nothing, not even why.
pub fn refused() -> Response {
    StatusCode::FORBIDDEN.into_response()
}

/// Whether a browser sends the request for a page. AWS's clients send none of these headers.
pub fn by_browser(headers: &HeaderMap) -> bool {
    let telling =
        |name: &str| matches!(name, "origin" | "access-control-request-method") || name.starts_with("sec-fetch-");
    headers.keys().any(|name| telling(name.as_str()))
}

/// Whether two secrets are the same, in a time that does not depend on where they differ.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |differs, (one, other)| std::hint::black_box(differs | (one ^ other)));
    one.len() == other.len() && differs == 0
}

/// A body that fails where its client pauses for too long.
struct Paused {
    body: Body,
    pause: Duration,
    /// Since it was asked for more than there was: a slow reader is not the client.
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
    async fn who_is_read_slowly_does_not_pause() {
        use futures_util::StreamExt;

        // Each part is there a moment after it was asked for.
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
    fn secrets_are_the_same_only_as_a_whole() {
        assert!(same_secret(b"abc", b"abc"));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!same_secret(b"abc", other.as_bytes()));
        }
    }

    #[test]
    fn a_browser_gives_itself_away() {
        let by =
            |name: &'static str| by_browser(&HeaderMap::from_iter([(name.parse().unwrap(), "x".parse().unwrap())]));
        assert!(by("origin") && by("sec-fetch-site") && by("sec-fetch-mode") && by("access-control-request-method"));
        assert!(!by("authorization") && !by("user-agent"));
    }
}
