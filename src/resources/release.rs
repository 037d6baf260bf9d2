//! Releases in the bucket: content-addressed, so an existing one is never written again. The last ones are kept for
//! rollbacks.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::kinds::{Id, Kind};
use super::step::Resource;
use super::{Planned, Sight, bucket, history};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::event::Event;
use crate::base::names;
use crate::release::Release;
use crate::resources::context::Context;

mod notes;
mod progress;
mod upload;

pub use notes::{Notes, notes};
use notes::{cannot_look, escaped, head};
pub(super) use upload::put;
use upload::{checksum, read};

/// How many releases of a deployment are kept; more only if all of them are in use.
pub const KEPT: usize = 10;
/// How many releases one call deletes at most: each has two objects, and a call deletes a thousand.
const AT_ONCE: usize = 500;

/// A release in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The release's id.
    pub id: String,
    /// When it was uploaded, in seconds since 1970.
    pub at: i64,
    /// Its size in bytes.
    pub size: i64,
}

/// The change to apply: upload the release, and delete old ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub id: String,
    /// The releases in the bucket, if they were read.
    pub stored: Option<Vec<Stored>>,
    /// The releases that must be kept, whatever their age.
    pub keep: BTreeSet<String>,
}

/// The wanted release.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its id.
    pub id: String,
}

/// The only release to upload.
pub const ID: Id = Id::of(Kind::Release);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        vec![bucket::ID]
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let stored = sight.have.store.present().map(|store| store.releases.clone());
        if stored.as_ref().is_some_and(|stored| holds(stored, &self.id)) {
            return Ok(None);
        }
        let reason =
            if stored.is_some() { "it is not in the bucket yet" } else { "uploaded to the bucket if it is not there" };
        let keep = history::in_use(sight.have);
        Ok(Some(Planned::create(reason, Change { id: self.id.clone(), stored, keep })))
    }
}

/// The deployment's releases, the newest first. A single release is searched in this list too, because an error of HEAD
/// has no reason.
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
            Err(error) => return Err(explain("cannot list the releases", &error)),
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

/// Removes a damaged release from the list, so that it is uploaded again; returns the reason. The list shows sizes;
/// `reported` is other evidence that the content differs.
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

/// Asks S3 for the sha256 of a stored release with the right size; returns what is wrong with it. `up` uploads a
/// release with its sha256, which S3 checks and keeps; an object that was uploaded with other tools has none.
/// `or_sound`: without the permission to read it, the release is assumed to be intact.
///
/// # Errors
/// A call to S3 fails.
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
    Ok((!sound).then_some("S3 has another sha256 for it, or none"))
}

fn holds(stored: &[Stored], id: &str) -> bool {
    stored.iter().any(|release| release.id == id)
}

/// The releases to delete when another one is uploaded: the oldest, until only [`KEPT`] remain.
fn surplus(stored: &[Stored], keep: &BTreeSet<String>) -> Vec<String> {
    let many = (stored.len() + 1).saturating_sub(KEPT);
    let mut oldest: Vec<&Stored> = stored.iter().filter(|release| !keep.contains(&release.id)).collect();
    oldest.sort_by_key(|release| (release.at, &release.id));
    oldest.into_iter().take(many.min(AT_ONCE)).map(|release| release.id.clone()).collect()
}

/// Applies the change and returns the new state.
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
        return Ok(format!("{} is already in the bucket", short(&change.id)));
    }
    let Some(release) = &context.release else {
        return Err(Failure::failed("there is no release to upload").next("run the same command again"));
    };
    let (bucket, _) = names::bucket(&context.account, &context.aws.region);
    let key = names::release_key(&context.name, &change.id);
    let body = read(&release.archive).await?;
    let size = body.len();
    // The instance reads `caddy`, and fetches that build too; the other metadata is for users and `rollback`.
    let notes = [
        ("by", context.by.as_str()),
        ("what", &release.what),
        ("target", &release.target.to_string()),
        ("reached", &release.reached),
        ("commands", &release.commands),
        ("caddy", release.proxy.sha384),
    ];
    let notes = notes.map(|(name, text)| (name.to_owned(), escaped(text)));
    // Not shortened: `config` limits them, and their characters are plain.
    let notes = notes.into_iter().chain([("sources".to_owned(), release.sources.clone())]);
    let notes: HashMap<_, _> = notes.filter(|(_, text)| !text.is_empty()).collect();
    put(context, &key, body, &change.id, notes).await?;
    let old = prune(context, &bucket, &surplus(&stored, &change.keep)).await;
    Ok(format!("{} uploaded ({}){old}", short(&change.id), indicatif::HumanBytes(size as u64)))
}

/// Deletes old releases, and the records that their commands ran. A failure is only a warning, because they cost little: the next run tries again.
async fn prune(context: &Context, bucket: &str, ids: &[String]) -> String {
    let of = |id: &String| [names::release_key(&context.name, id), names::released_key(&context.name, id)];
    let keys: Vec<String> = ids.iter().flat_map(of).collect();
    match delete(context, bucket, &keys).await {
        Ok(()) if ids.is_empty() => String::new(),
        Ok(()) => {
            let gone: Vec<&str> = ids.iter().map(|id| short(id)).collect();
            format!("; {} deleted, because only {KEPT} are kept", gone.join(", "))
        }
        Err(error) => {
            let why = if error.message.is_empty() { &error.code } else { &error.message };
            context.tell(Event::Warn(format!("cannot delete old releases: {why}")));
            String::new()
        }
    }
}

/// The id in short form, for users.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Deletes these objects; at most a thousand, which is the size of a list's page.
///
/// # Errors
/// A call to S3 fails, or S3 refuses to delete an object.
pub async fn delete(context: &Context, bucket: &str, keys: &[String]) -> Result<(), ApiError> {
    let objects = keys.iter().filter_map(|key| ObjectIdentifier::builder().key(key).build().ok());
    delete_all(context, bucket, "s3:DeleteObject", objects.collect()).await
}

/// Deletes the versions with these keys and ids.
///
/// # Errors
/// As for [`delete`].
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
        // Only an empty list cannot be built.
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
    use crate::resources::Lookup;
    use crate::resources::observed::{Observed, Store};

    fn stored(count: i64) -> Vec<Stored> {
        (1..=count).rev().map(|number| Stored { id: format!("r{number}"), at: number, size: 1 }).collect()
    }

    /// Whether a release is uploaded, given the known content of the bucket.
    fn put_there(id: &str, stored: &[Stored]) -> bool {
        let store = Lookup::Present(Store { releases: stored.to_vec(), ..Store::default() });
        let have = Observed { store, ..Observed::default() };
        Wanted { id: id.to_owned() }.diff(&Sight::new(&[], &have)).unwrap().is_some()
    }

    fn keep(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn only_ten_releases_and_those_in_use_are_kept() {
        assert_eq!(surplus(&stored(9), &keep(&[])), Vec::<String>::new());
        assert_eq!(surplus(&stored(10), &keep(&[])), ["r1"]);
        assert_eq!(surplus(&stored(12), &keep(&["r2"])), ["r1", "r3", "r4"]);
        assert_eq!(surplus(&stored(10), &keep(&["r1", "r2"])), ["r3"]);
        let all: Vec<String> = stored(10).into_iter().map(|release| release.id).collect();
        assert_eq!(surplus(&stored(10), &all.into_iter().collect()), Vec::<String>::new());
    }

    #[test]
    fn an_existing_release_is_not_uploaded_again() {
        assert!(!put_there("r1", &stored(30)));
        assert!(put_there("r31", &stored(30)));
    }

    #[test]
    fn a_release_with_a_wrong_size_or_a_bad_report_counts_as_missing() {
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
            commands: String::new(),
            processes: crate::release::Processes { asgi: false, workers: 2, threads: 4 },
            reached: "https".into(),
            sources: String::new(),
            what: String::new(),
        };
        let left = |release: &Release, reported| {
            let mut left = stored(3);
            let said = without_damaged(&mut left, release, reported);
            (said.is_some(), put_there("r2", &left))
        };
        let other = Some("the instance found another sha256");
        assert_eq!(left(&release, None), (false, false));
        assert_eq!(left(&release, other), (true, true), "an instance found another sha256");
        assert_eq!(left(&Release { size: 2, ..release.clone() }, None), (true, true), "it was cut short");
        assert_eq!(
            left(&Release { id: "r9".into(), ..release }, other),
            (false, false),
            "another release is wanted, which is not there: r2 stays"
        );
    }
}
