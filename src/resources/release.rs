//! Releases in the bucket: content-addressed, so that one that is there is never written again. The last few stay, so that
//! there is something to go back to.

mod progress;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::Planned;
use crate::aws::retry::{Backoff, haste, patiently};
use crate::aws::{ApiError, Aws, Fault, call, explain, once};
use crate::base::error::{Failure, Result};
use crate::base::event::{Event, Topic};
use crate::base::names;
use crate::release::Release;
use crate::resources::context::Context;
use progress::{Moved, Progress};

/// As many releases of a deployment stay in the bucket; more only where all of them are in use.
pub const KEPT: usize = 10;
/// An upload of which nothing was sent or answered for so long has stalled.
const STALLED: Duration = Duration::from_secs(180);
/// So many times it may.
const ATTEMPTS: usize = 2;
/// How long errors of an upload that pass are waited out.
const PATIENCE: Duration = Duration::from_secs(60);
/// As many objects as one call deletes.
const AT_ONCE: usize = 1000;
/// What a header may not hold as it is, or what would be read as an escape.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// As long as one of a release's notes may be, in bytes.
const LONGEST_NOTE: usize = 200;

/// A release as it lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The release's id.
    pub id: String,
    /// When it was uploaded, in seconds since 1970.
    pub at: i64,
    /// Bytes.
    pub size: i64,
}

/// What is noted on a release; empty where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Who uploaded it.
    pub by: String,
    /// What it was made from.
    pub what: String,
    /// What it was built for, such as `python3.13 x86_64`.
    pub target: String,
    /// How it is reached.
    pub reached: String,
    /// When it was uploaded, in seconds since 1970.
    pub at: i64,
}

impl Notes {
    /// Who uploaded it and what it was made from, as far as that is known.
    pub fn origin(&self) -> String {
        let known = [&self.by, &self.what].map(String::as_str);
        known.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    }
}

/// What to do: put it there, and delete what is too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub id: String,
    /// What lies there, if somebody has looked.
    pub stored: Option<Vec<Stored>>,
    /// What must not go, however old it is.
    pub keep: BTreeSet<String>,
}

/// The releases of a deployment, the newest first. One is looked for in this list as well, because what refuses a HEAD
/// cannot say why.
pub async fn observe(aws: &Aws, account: &str, name: &str) -> Result<Vec<Stored>> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = || {
            let list = aws.s3.list_objects_v2().bucket(&bucket).prefix(names::releases_prefix(name));
            list.set_continuation_token(page.clone()).expected_bucket_owner(account).send()
        };
        let answer = match call("s3:ListBucket", request).await {
            Ok(answer) => answer,
            Err(error) if error.absent() => return Ok(Vec::new()),
            Err(error) => return Err(explain("cannot look for the releases", &error)),
        };
        found.extend(answer.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let id = names::release_of_key(name, object.key.as_deref()?)?.to_owned();
            let at = object.last_modified.map_or(0, |time| time.secs());
            Some(Stored { id, at, size: object.size.unwrap_or_default() })
        }));
        page = answer.next_continuation_token;
        if page.is_none() {
            break;
        }
    }
    found.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
    Ok(found)
}

/// Takes a release out of what is stored where the bucket holds something else under its key, so that it is uploaded again;
/// says what is wrong. The list has sizes; `reported` is how else it is known that the content is another.
pub fn without_damaged(stored: &mut Vec<Stored>, release: &Release, reported: Option<&str>) -> Option<String> {
    let place = stored.iter().position(|one| one.id == release.id)?;
    let size = stored[place].size;
    let wrong = if u64::try_from(size) != Ok(release.size) {
        format!("it has {size} bytes, not {}", release.size)
    } else {
        reported?.to_owned()
    };
    stored.remove(place);
    Some(format!("the release {} in the bucket is damaged and will be replaced: {wrong}", short(&release.id)))
}

/// Asks S3 for the sha256 of a release that is stored with the right size; says what is wrong with it. `up` uploads a release
/// with its sha256, which S3 checks and keeps; an object that was uploaded by other means has none. `or_sound`: a caller
/// without the permission to ask takes it for sound.
///
/// # Errors
/// What S3 says.
pub async fn other_content(
    aws: &Aws,
    (account, name): (&str, &str),
    stored: &[Stored],
    release: &Release,
    or_sound: bool,
) -> Result<Option<&'static str>> {
    let whole = |one: &Stored| one.id == release.id && u64::try_from(one.size) == Ok(release.size);
    if !stored.iter().any(whole) {
        return Ok(None);
    }
    let sound = match head(aws, account, name, &release.id).await {
        Ok(answer) => answer.is_some_and(|answer| answer.checksum_sha256 == Some(checksum(&release.id))),
        Err(error) if or_sound && error.is(&["AccessDenied"]) => true,
        Err(error) => return Err(cannot_look(&release.id, &error)),
    };
    Ok((!sound).then_some("S3 knows another sha256 of it, or none"))
}

/// Asks for the notes and the checksum of a release; nothing if it is not there.
async fn head(aws: &Aws, account: &str, name: &str, id: &str) -> Result<Option<HeadObjectOutput>, ApiError> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let key = names::release_key(name, id);
    let head = || {
        let head = aws.s3.head_object().bucket(&bucket).key(&key).expected_bucket_owner(account);
        head.checksum_mode(ChecksumMode::Enabled).send()
    };
    // Its answers have no body, and so no code: S3 says 403 to who may not ask, and 400 to a session that is over.
    // <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    let passes = |error: &ApiError| error.status.is_none_or(|status| !(300..500).contains(&status));
    match patiently(Backoff::new(Duration::from_secs(20)), passes, || once("s3:GetObject", head)).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.status == Some(404) => Ok(None),
        Err(mut error) => {
            if error.code.is_empty() {
                error.code = match error.status {
                    Some(403) => "AccessDenied".into(),
                    Some(400) => "ExpiredToken".into(),
                    _ => error.code,
                };
            }
            Err(error)
        }
    }
}

fn cannot_look(id: &str, error: &ApiError) -> Failure {
    explain(format!("cannot look at the release {}", short(id)), error)
}

/// What is noted on a release; nothing if it is not there.
///
/// # Errors
/// What S3 says.
pub async fn notes(aws: &Aws, account: &str, name: &str, id: &str) -> Result<Option<Notes>> {
    let answer = head(aws, account, name, id).await.map_err(|error| cannot_look(id, &error))?;
    Ok(answer.map(|answer| {
        let at = answer.last_modified.map_or(0, |time| time.secs());
        let metadata = answer.metadata.unwrap_or_default();
        let note = |name: &str| metadata.get(name).map(|text| plain(text)).unwrap_or_default();
        Notes { by: note("by"), what: note("what"), target: note("target"), reached: note("reached"), at }
    }))
}

/// A note as a header takes it: ASCII, and not too long.
fn escaped(text: &str) -> String {
    let mut note = String::new();
    for character in text.chars() {
        let more = utf8_percent_encode(character.encode_utf8(&mut [0; 4]), ESCAPED).to_string();
        if note.len() + more.len() > LONGEST_NOTE {
            break;
        }
        note.push_str(&more);
    }
    note
}

/// A note as it is shown. Whoever may write to the bucket must not write to a terminal.
fn plain(note: &str) -> String {
    let text = percent_decode_str(note).decode_utf8_lossy().into_owned();
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// It is put there if it is not. `keep`: what is in use, or may be gone back to.
pub fn diff(id: &str, stored: &[Stored], keep: BTreeSet<String>) -> Option<Planned<Change>> {
    let change = || Change { id: id.to_owned(), stored: Some(stored.to_vec()), keep };
    (!holds(stored, id)).then(|| Planned::create("it is not in the bucket yet", change()))
}

/// To be planned where nobody has looked.
pub fn unseen(id: &str, keep: BTreeSet<String>) -> Planned<Change> {
    Planned::create("put into the bucket unless it is there", Change { id: id.to_owned(), stored: None, keep })
}

fn holds(stored: &[Stored], id: &str) -> bool {
    stored.iter().any(|release| release.id == id)
}

/// What goes when another one comes: the oldest, until as many are left as are kept.
fn surplus(stored: &[Stored], keep: &BTreeSet<String>) -> Vec<String> {
    let many = (stored.len() + 1).saturating_sub(KEPT);
    let mut oldest: Vec<&Stored> = stored.iter().filter(|release| !keep.contains(&release.id)).collect();
    oldest.sort_by_key(|release| (release.at, &release.id));
    oldest.into_iter().take(many.min(AT_ONCE)).map(|release| release.id.clone()).collect()
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let stored = match (change.stored, &context.release) {
        (Some(stored), _) => stored,
        (None, release) => {
            let mut stored = observe(&context.aws, &context.account, &context.name).await?;
            if let Some(release) = release {
                let whose = (context.account.as_str(), context.name.as_str());
                let other = other_content(&context.aws, whose, &stored, release, false).await?;
                let wrong = without_damaged(&mut stored, release, other);
                wrong.into_iter().for_each(|wrong| context.tell(Event::Warn(wrong)));
            }
            stored
        }
    };
    if holds(&stored, &change.id) {
        return Ok(format!("{} is there already", short(&change.id)));
    }
    let Some(release) = &context.release else {
        return Err(Failure::failed("there is no release to upload").next("run the same command again"));
    };
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    let key = names::release_key(&context.name, &change.id);
    let body = read(&release.archive).await?;
    let size = body.len();
    // The instance reads `caddy`, and fetches that beside the release; the others are for people and for `rollback`.
    let notes = [
        ("by", context.by.as_str()),
        ("what", &release.what),
        ("target", &release.target.to_string()),
        ("reached", &release.reached),
        ("caddy", release.proxy.sha384),
    ];
    let notes = notes.map(|(name, text)| (name.to_owned(), escaped(text)));
    let notes: HashMap<_, _> = notes.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    put(context, "release", &key, body, &change.id, notes).await?;
    let old = prune(context, &bucket, &surplus(&stored, &change.keep)).await;
    Ok(format!("{} uploaded ({}){old}", short(&change.id), indicatif::HumanBytes(size as u64)))
}

/// Deletes what is too old. What cannot be deleted costs a little, and is no reason to stop: the next one tries again.
async fn prune(context: &Context, bucket: &str, ids: &[String]) -> String {
    let keys: Vec<String> = ids.iter().map(|id| names::release_key(&context.name, id)).collect();
    match delete(context, bucket, &keys).await {
        Ok(()) if ids.is_empty() => String::new(),
        Ok(()) => {
            let gone: Vec<&str> = ids.iter().map(|id| short(id)).collect();
            format!("; {} deleted, for more than {KEPT} are not kept", gone.join(", "))
        }
        Err(error) => {
            let why = if error.message.is_empty() { &error.code } else { &error.message };
            context.tell(Event::Warn(format!("releases that are too old cannot be deleted: {why}")));
            String::new()
        }
    }
}

/// What is to be uploaded.
///
/// # Errors
/// That the file is gone, or cannot be read.
async fn read(archive: &Path) -> Result<Vec<u8>> {
    tokio::fs::read(archive).await.map_err(|error| {
        Failure::failed(format!("cannot read {}", archive.display()))
            .because(error.to_string())
            .next("run the same command again")
    })
}

/// Puts what is packed into the bucket, for as long as that takes: a slow line is no fault. An upload on which nothing moves
/// any more is begun once again, and then given up. How far it is is told under `topic`. S3 refuses a body that has not this
/// SHA-256, which it takes in Base64.
///
/// # Errors
/// What S3 says, or that the upload has stalled.
pub(super) async fn put(
    context: &Context,
    topic: Topic,
    key: &str,
    body: Vec<u8>,
    sha256: &str,
    notes: HashMap<String, String>,
) -> Result<()> {
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    let patient = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(3600)).build();
    let request = |moved: Arc<Moved>| {
        let put = context.aws.s3.put_object().bucket(&bucket).key(key).expected_bucket_owner(&context.account);
        let put = put.content_type("application/gzip").set_metadata(Some(notes.clone()));
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(checksum(sha256));
        let patient = aws_sdk_s3::config::Builder::new().timeout_config(patient.clone());
        // The SDK's own watch ends with the last byte, and would not wait for an answer in vain.
        let patient = patient.stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let progress = Progress::new(topic, context.shared_sink(), moved);
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
                        Err(SdkError::timeout_error("nothing moves any more"))
                    }
                }
            }
        };
        let passes = |error: &ApiError| stalled.get().is_none() && error.fault() != Fault::Final;
        let put = patiently(Backoff::new(PATIENCE), passes, || once("s3:PutObject", send)).await;
        match (put, stalled.get()) {
            (Ok(_), _) => return Ok(()),
            (Err(error), None) => return Err(explain(format!("the {topic} cannot be uploaded"), &error)),
            (Err(_), Some(bytes)) => sent = *bytes,
        }
        if attempt < ATTEMPTS {
            context.waits(topic, &format!("nothing was sent for {} minutes; the upload begins again", minutes()));
        }
    }
    let (sent, size) = (indicatif::HumanBytes(sent), indicatif::HumanBytes(body.len() as u64));
    Err(Failure::failed(format!("the upload of the {topic} has stalled"))
        .because(format!("twice S3 said nothing for {} minutes; {sent} of {size} were sent", minutes()))
        .standing("S3 keeps an object as a whole or not at all; the next run looks whether it is there.")
        .next(
            "check the network, as a firewall, a proxy or a VPN can hold a large upload up; then run the same command again",
        ))
}

fn minutes() -> u64 {
    STALLED.as_secs() / 60
}

/// A SHA-256 in hexadecimal digits as S3 writes it.
fn checksum(sha256: &str) -> String {
    let bytes = (0..sha256.len() / 2).filter_map(|at| u8::from_str_radix(sha256.get(2 * at..2 * at + 2)?, 16).ok());
    BASE64.encode(bytes.collect::<Vec<u8>>())
}

/// As much of an id as a person needs.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Removes these objects, at most a thousand: as many as one list shows.
///
/// # Errors
/// What S3 says; objects that it keeps are an error too.
pub async fn delete(context: &Context, bucket: &str, keys: &[String]) -> Result<(), ApiError> {
    let objects = keys.iter().filter_map(|key| ObjectIdentifier::builder().key(key).build().ok());
    delete_all(context, bucket, "s3:DeleteObject", objects.collect()).await
}

/// Removes the versions with these keys and ids.
///
/// # Errors
/// As [`delete`].
pub async fn delete_versions(context: &Context, bucket: &str, versions: &[(String, String)]) -> Result<(), ApiError> {
    let objects =
        versions.iter().filter_map(|(key, id)| ObjectIdentifier::builder().key(key).version_id(id).build().ok());
    delete_all(context, bucket, "s3:DeleteObjectVersion", objects.collect()).await
}

async fn delete_all(
    context: &Context,
    bucket: &str,
    action: &'static str,
    objects: Vec<ObjectIdentifier>,
) -> Result<(), ApiError> {
    if objects.is_empty() {
        return Ok(());
    }
    let request = || {
        // An empty list is the only one that is not built.
        let delete = Delete::builder().set_objects(Some(objects.clone())).quiet(true).build().ok();
        let request = context.aws.s3.delete_objects().bucket(bucket).expected_bucket_owner(&context.account);
        request.set_delete(delete).send()
    };
    let answer = match call(action, request).await {
        Err(error) if error.is(&["NoSuchBucket"]) => return Ok(()),
        answer => answer?,
    };
    match answer.errors().first() {
        None => Ok(()),
        Some(kept) => {
            let code = kept.code().unwrap_or_default().to_owned();
            let message = format!("{}: {}", kept.key().unwrap_or_default(), kept.message().unwrap_or_default());
            Err(ApiError { action, code, message, status: Some(400), ahead: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(count: i64) -> Vec<Stored> {
        (1..=count).rev().map(|number| Stored { id: format!("r{number}"), at: number, size: 1 }).collect()
    }

    fn keep(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_more_than_ten_but_never_what_is_in_use() {
        assert_eq!(surplus(&stored(9), &keep(&[])), Vec::<String>::new());
        assert_eq!(surplus(&stored(10), &keep(&[])), ["r1"]);
        assert_eq!(surplus(&stored(12), &keep(&["r2"])), ["r1", "r3", "r4"]);
        assert_eq!(surplus(&stored(10), &keep(&["r1", "r2"])), ["r3"]);
        let all: Vec<String> = stored(10).into_iter().map(|release| release.id).collect();
        assert_eq!(surplus(&stored(10), &all.into_iter().collect()), Vec::<String>::new());
    }

    #[test]
    fn what_is_there_is_not_put_there_again_however_many_there_are() {
        assert_eq!(diff("r1", &stored(30), keep(&[])), None);
        assert!(diff("r31", &stored(30), keep(&[])).is_some());
    }

    #[test]
    fn what_the_bucket_holds_with_another_size_or_a_bad_report_counts_as_not_there() {
        let target = crate::aws::Target::Image { python: "3.13", platform: "x86_64-manylinux_2_40" };
        let release = Release {
            id: "r2".into(),
            archive: "r2.tar.gz".into(),
            fresh: false,
            resolved_anew: false,
            warnings: Vec::new(),
            size: 1,
            proxy: crate::release::proxy::Build::of(&target).unwrap(),
            target,
            reached: "https".into(),
            what: String::new(),
        };
        let left = |release: &Release, reported| {
            let mut left = stored(3);
            let said = without_damaged(&mut left, release, reported);
            (said.is_some(), diff("r2", &left, keep(&[])).is_some())
        };
        let other = Some("the instance found another sha256");
        assert_eq!(left(&release, None), (false, false));
        assert_eq!(left(&release, other), (true, true), "an instance found another sha256");
        assert_eq!(left(&Release { size: 2, ..release.clone() }, None), (true, true), "it was cut short");
        assert_eq!(
            left(&Release { id: "r9".into(), ..release }, other),
            (false, false),
            "another one is wanted, which is not there: r2 stays"
        );
    }

    #[test]
    fn an_id_is_a_checksum_of_s3() {
        let id = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum(id), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn a_note_goes_through_a_header_and_comes_back() {
        for text in ["", "plain", "100% naïve → \u{1f980}", "a%41b", "tab\there"] {
            let note = escaped(text);
            assert!(note.bytes().all(|byte| (32..127).contains(&byte)), "{note}");
            assert_eq!(plain(&note), text.replace('\t', " "));
        }
        let long = "ü".repeat(500);
        assert!(escaped(&long).len() <= LONGEST_NOTE && plain(&escaped(&long)).chars().all(|c| c == 'ü'));
        assert_eq!(plain("%1b[2Jred%0a"), " [2Jred ");
    }
}
