//! The progress of an upload: the body is sent in slices, and the number of bytes is shown at intervals. The time of
//! the last byte is recorded, so that a stalled upload can be aborted.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::primitives::SdkBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use indicatif::HumanBytes;

use crate::base::event::{Event, Sink, Topic};

/// The size of a slice.
const SLICE: usize = 64 << 10;
/// The minimum interval between two lines. A shorter upload shows only its end.
const EVERY: Duration = Duration::from_secs(5);
/// The maximum number of lines.
const LINES: u64 = 50;

/// The time and number of the bytes that an attempt has sent.
#[derive(Debug)]
pub(super) struct Moved {
    at: Mutex<Instant>,
    sent: AtomicU64,
}

impl Moved {
    /// Starts a new attempt.
    pub(super) fn now() -> Arc<Self> {
        Arc::new(Self { at: Mutex::new(Instant::now()), sent: AtomicU64::new(0) })
    }

    /// The number of bytes that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until nothing was sent or answered for this time.
    pub(super) async fn stalled(&self, limit: Duration) {
        while let Some(left) = limit.checked_sub(self.idle()) {
            tokio::time::sleep(left.max(Duration::from_millis(1))).await;
        }
    }

    fn idle(&self) -> Duration {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn step(&self, bytes: u64, now: Instant) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// Shows the progress of the upload of this topic.
pub(super) struct Progress {
    topic: Topic,
    sink: Arc<dyn Sink>,
    moved: Arc<Moved>,
}

impl Progress {
    pub(super) fn new(topic: Topic, sink: Arc<dyn Sink>, moved: Arc<Moved>) -> Self {
        Self { topic, sink, moved }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Progress({})", self.topic)
    }
}

impl Intercept for Progress {
    fn name(&self) -> &'static str {
        "Progress"
    }

    // The last hook before the request is sent: the body is signed and no longer changes.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let body = context.request_mut().body_mut();
        let Some(size) = body.content_length() else { return Ok(()) };
        let whole = Box::pin(std::mem::replace(body, SdkBody::taken()));
        let (topic, sink) = (self.topic.clone(), self.sink.clone());
        let tell = Box::new(move |words| sink.event(Event::Go(topic.clone(), words)));
        let (rest, pace, moved) = (Bytes::new(), Pace::new(size, Instant::now()), self.moved.clone());
        *body = SdkBody::from_body_1_x(Sliced { whole, rest, pace, moved, tell });
        Ok(())
    }
}

/// A body that counts its slices.
struct Sliced {
    whole: Pin<Box<SdkBody>>,
    rest: Bytes,
    pace: Pace,
    moved: Arc<Moved>,
    tell: Box<dyn Fn(String) + Send + Sync>,
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let body = self.get_mut();
        if body.rest.is_empty() {
            match ready!(body.whole.as_mut().poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => body.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let slice = body.rest.split_to(SLICE.min(body.rest.len()));
        let (bytes, now) = (slice.len() as u64, Instant::now());
        body.moved.step(bytes, now);
        if let Some(words) = body.pace.step(bytes, now) {
            (body.tell)(words);
        }
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pace.size - self.pace.sent)
    }
}

/// Decides when to show progress.
struct Pace {
    size: u64,
    sent: u64,
    told: u64,
    at: Instant,
}

impl Pace {
    fn new(size: u64, now: Instant) -> Self {
        Self { size, sent: 0, told: 0, at: now }
    }

    /// Counts more bytes; returns the text to show, if it is time.
    fn step(&mut self, bytes: u64, now: Instant) -> Option<String> {
        self.sent += bytes;
        if now < self.at + EVERY || self.sent - self.told < self.size / LINES {
            return None;
        }
        (self.told, self.at) = (self.sent, now);
        Some(format!("{} of {} uploaded", HumanBytes(self.sent), HumanBytes(self.size)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn progress_is_shown_at_intervals_and_is_limited() {
        let began = Instant::now();
        let mut pace = Pace::new(100 << 20, began);
        assert_eq!(pace.step(50 << 20, began + Duration::from_millis(4900)), None, "the upload may end soon");
        let words = pace.step(1 << 20, began + EVERY);
        assert_eq!(words.as_deref(), Some("51.00 MiB of 100.00 MiB uploaded"));
        assert_eq!(pace.step(1 << 20, began + Duration::from_secs(3600)), None, "few bytes were sent since");
        assert!(pace.step(1 << 20, began + Duration::from_secs(3600)).is_some());
        // A day on a network with a few bytes per second.
        let mut slow = Pace::new(100 << 20, began);
        let day =
            (1..=1600).filter(|slice| slow.step(64 << 10, began + 60 * *slice * Duration::from_secs(1)).is_some());
        assert!((40..=50).contains(&day.count()));
    }

    #[tokio::test]
    async fn a_body_that_is_sliced_is_the_same() {
        let content: Vec<u8> = (0..5 * SLICE + 7).map(|at| (at % 251) as u8).collect();
        let told = Arc::new(Mutex::new(0));
        let (counted, moved) = (told.clone(), Moved::now());
        let mut body = Box::pin(Sliced {
            whole: Box::pin(SdkBody::from(content.clone())),
            rest: Bytes::new(),
            pace: Pace::new(content.len() as u64, Instant::now().checked_sub(EVERY).unwrap()),
            moved: moved.clone(),
            tell: Box::new(move |_| *counted.lock().unwrap() += 1),
        });
        assert_eq!(body.size_hint().exact(), Some(content.len() as u64));
        let mut found = Vec::new();
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= SLICE);
            found.extend_from_slice(&data);
        }
        assert!(found == content && body.is_end_stream());
        assert_eq!((body.size_hint().exact(), *told.lock().unwrap()), (Some(0), 1));
        assert_eq!(moved.sent(), content.len() as u64);
    }

    #[tokio::test]
    async fn an_attempt_has_stalled_when_nothing_was_sent_for_long() {
        let moved = Moved::now();
        let limit = Duration::from_secs(3600);
        // One poll: it would wait.
        assert!(tokio::time::timeout(Duration::ZERO, moved.stalled(limit)).await.is_err());
        *moved.at.lock().unwrap() = Instant::now().checked_sub(limit).unwrap();
        moved.stalled(limit).await;
        moved.step(1, Instant::now());
        assert!(tokio::time::timeout(Duration::ZERO, moved.stalled(limit)).await.is_err());
    }
}
