//! A slow line: what a command uploads to S3 passes no faster than the line takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::{StreamExt, stream};

/// How often the line is looked at: it may have become faster.
const STEP: Duration = Duration::from_millis(50);

/// The same body, at so many bytes a second; 0 is as fast as it comes.
pub fn slowed(body: Body, line: Arc<AtomicU64>) -> Body {
    let next = async |(mut body, line): (axum::body::BodyDataStream, Arc<AtomicU64>)| {
        let chunk = body.next().await?;
        let mut left = chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        loop {
            match line.load(Ordering::Relaxed) {
                0 => break,
                _ if left == 0 => break,
                speed => {
                    tokio::time::sleep(STEP).await;
                    left = left.saturating_sub(speed / 20);
                }
            }
        }
        Some((chunk, (body, line)))
    };
    Body::from_stream(stream::unfold((body.into_data_stream(), line), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_takes_as_long_as_the_line_does() {
        let read = async |speed: u64| {
            let began = std::time::Instant::now();
            let slow = slowed(Body::from(vec![7; 10_000]), Arc::new(AtomicU64::new(speed)));
            assert_eq!(axum::body::to_bytes(slow, 10_000).await.unwrap(), vec![7; 10_000]);
            began.elapsed()
        };
        read(0).await;
        assert!(read(100_000).await >= Duration::from_millis(100));
    }
}
