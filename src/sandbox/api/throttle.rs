//! Limits the rate of uploads to S3, to simulate a slow connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::{StreamExt, stream};

/// How often the limit is read. It can change during an upload.
const STEP: Duration = Duration::from_millis(50);

/// Limits a body to `rate` bytes per second. 0: no limit.
pub fn throttled(body: Body, rate: Arc<AtomicU64>) -> Body {
    let next = async |(mut body, rate): (axum::body::BodyDataStream, Arc<AtomicU64>)| {
        let chunk = body.next().await?;
        let mut left = chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        loop {
            match rate.load(Ordering::Relaxed) {
                0 => break,
                _ if left == 0 => break,
                rate => {
                    tokio::time::sleep(STEP).await;
                    left = left.saturating_sub(rate / 20);
                }
            }
        }
        Some((chunk, (body, rate)))
    };
    Body::from_stream(stream::unfold((body.into_data_stream(), rate), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_takes_as_long_as_its_rate() {
        let read = async |rate: u64| {
            let began = std::time::Instant::now();
            let slow = throttled(Body::from(vec![7; 10_000]), Arc::new(AtomicU64::new(rate)));
            assert_eq!(axum::body::to_bytes(slow, 10_000).await.unwrap(), vec![7; 10_000]);
            began.elapsed()
        };
        read(0).await;
        assert!(read(100_000).await >= Duration::from_millis(100));
    }
}
