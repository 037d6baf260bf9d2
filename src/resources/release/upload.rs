//! Uploads an archive to the bucket, and detects a stalled upload.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::progress::{Moved, Progress};
use crate::aws::retry::{Backoff, haste, patiently};
use crate::aws::{ApiError, Fault, explain, once};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;

/// How long nothing may be sent or answered until an upload counts as stalled.
const STALLED: Duration = Duration::from_secs(180);

/// How many attempts may stall.
const ATTEMPTS: usize = 2;

/// How long transient errors of an upload are retried.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the archive.
///
/// # Errors
/// The file was deleted, or cannot be read.
pub(super) async fn read(archive: &Path) -> Result<Vec<u8>> {
    tokio::fs::read(archive).await.map_err(|error| {
        Failure::failed(format!("cannot read {}", archive.display()))
            .because(error.to_string())
            .next("run the same command again")
    })
}

/// Uploads the archive without a total time limit, because a slow network is no error. A stalled upload is restarted
/// once, and then aborted. S3 refuses a body without this SHA-256, which it expects in Base64.
///
/// # Errors
/// A call to S3 fails, or the upload has stalled.
pub(in crate::resources) async fn put(
    context: &Context,
    key: &str,
    body: Vec<u8>,
    sha256: &str,
    notes: HashMap<String, String>,
) -> Result<()> {
    let topic = context.id();
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    let patient = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(3600)).build();
    let request = |moved: Arc<Moved>| {
        let put = context.aws.s3.put_object().bucket(&bucket).key(key).expected_bucket_owner(&context.account);
        let put = put.content_type("application/gzip").set_metadata(Some(notes.clone()));
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(checksum(sha256));
        let patient = aws_sdk_s3::config::Builder::new().timeout_config(patient.clone());
        // The SDK's own stall detection ends with the last byte, and does not cover a missing response.
        let patient = patient.stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let progress = Progress::new(topic.to_string().into(), context.shared_sink(), moved);
        put.body(ByteStream::from(body.clone())).customize().config_override(patient).interceptor(progress).send()
    };
    let limit = STALLED / haste();
    let mut sent = 0;
    for attempt in 1..=ATTEMPTS {
        let stalled = OnceLock::new();
        let send = || {
            let moved = Moved::now();
            let answer = request(moved.clone());
            let stalled = &stalled;
            async move {
                tokio::select! {
                    answer = answer => answer,
                    () = moved.stalled(limit) => {
                        stalled.get_or_init(|| moved.sent());
                        Err(SdkError::timeout_error("the upload stalled"))
                    }
                }
            }
        };
        let passes = |error: &ApiError| stalled.get().is_none() && error.fault() != Fault::Final;
        let put = patiently(Backoff::new(PATIENCE), passes, || once("s3:PutObject", send)).await;
        match (put, stalled.get()) {
            (Ok(_), _) => return Ok(()),
            (Err(error), None) => return Err(explain(format!("cannot upload the {topic}"), &error)),
            (Err(_), Some(bytes)) => sent = *bytes,
        }
        if attempt < ATTEMPTS {
            context.waits(&format!("nothing was sent for {} minutes; restarting the upload", minutes()));
        }
    }
    let (sent, size) = (indicatif::HumanBytes(sent), indicatif::HumanBytes(body.len() as u64));
    Err(Failure::failed(format!("the upload of the {topic} has stalled"))
        .because(format!("S3 did not respond for {} minutes, twice; {sent} of {size} were sent", minutes()))
        .standing("S3 stores an object completely or not at all; the next run checks whether it exists.")
        .next(
            "check the network: a firewall, a proxy or a VPN can block a large upload; then run the same command again",
        ))
}

fn minutes() -> u64 {
    STALLED.as_secs() / 60
}

/// A SHA-256 in S3's format, from hexadecimal digits.
pub(super) fn checksum(sha256: &str) -> String {
    let bytes = (0..sha256.len() / 2).filter_map(|at| u8::from_str_radix(sha256.get(2 * at..2 * at + 2)?, 16).ok());
    BASE64.encode(bytes.collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_checksum_of_s3() {
        let id = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum(id), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
