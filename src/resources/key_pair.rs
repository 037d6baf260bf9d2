//! The key pair: generated on this machine, so EC2 only receives the public key. Port 22 is closed; the key is for
//! emergencies.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{KeyPairInfo, ResourceType};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use super::kinds::{Id, Kind};
use super::step::{Resource, Step};
use super::{Planned, Sight, Tags, any_name_tag, filter, from_ec2, missing, ours, set_tags, tagged};
use crate::aws::{Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::{dirs, names};
use crate::resources::context::Context;
use crate::resources::{Lookup, NameConflict};

/// The state of a key pair in EC2, whether this machine has the private key or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `key-…`
    pub id: String,
    /// When it was created, in seconds since 1970. It outlives instances, so it shows the age of a deployment best.
    pub made: Option<i64>,
    /// All tags.
    pub tags: Tags,
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Import the public key.
    Create { tags: Tags },
    /// Set these tags.
    Tag { id: String, tags: Tags },
    /// Delete it, and the private key on this machine.
    Delete { id: String },
}

/// The wanted key pair.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tags.
    pub tags: Tags,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::KeyPair)
    }

    /// An existing key pair is kept, whether this machine has its private key or not.
    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(match sight.have.key_pair.looked()? {
            None => Some(Planned::create("does not exist", Change::Create { tags: self.tags.clone() })),
            Some(have) => {
                Planned::tag(missing(&self.tags, &have.tags), |tags| Change::Tag { id: have.id.clone(), tags })
            }
        })
    }

    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let delete = |have: &State| Planned::delete(Change::Delete { id: have.id.clone() });
        sight.removal(Kind::KeyPair, Vec::new(), || Ok(sight.have.key_pair.looked()?.map(delete)))
    }
}

/// Finds the key pair by name.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<State>> {
    let key = names::common(name);
    let request = || aws.ec2.describe_key_pairs().filters(filter("key-name", &key)).send();
    let answer =
        call("ec2:DescribeKeyPairs", request).await.map_err(|error| explain("cannot look up the key pair", &error))?;
    let Some(found) = answer.key_pairs.unwrap_or_default().into_iter().next() else {
        return Ok(Lookup::Absent);
    };
    let found = State::of(found);
    match ours(&found.tags, name) {
        true => Ok(Lookup::Present(found)),
        false => Ok(Lookup::NotOurs(NameConflict::new("key pair", key))),
    }
}

/// Finds the key pairs of all deployments. EC2 has no pages for them.
///
/// # Errors
/// A call to EC2 fails.
pub async fn observe_all(aws: &Aws) -> Result<Vec<State>> {
    let request = || aws.ec2.describe_key_pairs().filters(any_name_tag()).send();
    let answer =
        call("ec2:DescribeKeyPairs", request).await.map_err(|error| explain("cannot list the key pairs", &error))?;
    Ok(answer.key_pairs.unwrap_or_default().into_iter().map(State::of).collect())
}

impl State {
    fn of(found: KeyPairInfo) -> Self {
        let made = found.create_time.map(|time| time.secs());
        Self { id: found.key_pair_id.unwrap_or_default(), made, tags: from_ec2(found.tags) }
    }
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Create { tags } => import(context, &tags).await,
        Change::Tag { id, tags } => {
            let tagged = set_tags(&context.aws, &[&id], &tags).await;
            tagged.map_err(|error| explain("cannot tag the key pair", &error))?;
            Ok(format!("{id} is tagged"))
        }
        Change::Delete { id } => {
            // The private key first: after a kill in between, a second run still sees the public key.
            let path = private_half(context)?;
            if path.exists() {
                fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
            }
            let request = || context.aws.ec2.delete_key_pair().key_pair_id(&id).send();
            match call("ec2:DeleteKeyPair", request).await {
                Err(error) if !error.absent() => Err(explain("cannot delete the key pair", &error)),
                _ => Ok("deleted".into()),
            }
        }
    }
}

async fn import(context: &Context, tags: &Tags) -> Result<String> {
    let name = names::common(&context.name);
    let path = private_half(context)?;
    let public = public_half(&path)?;
    let request = || {
        let specification = tagged(ResourceType::KeyPair, tags);
        let material = Blob::new(public.clone().into_bytes());
        context
            .aws
            .ec2
            .import_key_pair()
            .key_name(&name)
            .public_key_material(material)
            .tag_specifications(specification)
            .send()
    };
    match call("ec2:ImportKeyPair", request).await {
        Ok(_) => Ok(format!("{name}, private half in {}", path.display())),
        Err(error) if error.is(&["InvalidKeyPair.Duplicate"]) => match observe(&context.aws, &context.name).await? {
            Lookup::NotOurs(conflict) => Err(conflict.refuse()),
            _ => Ok(name),
        },
        Err(error) => Err(explain("cannot import the key pair", &error)),
    }
}

/// The private key is written before EC2 gets the public one: after a kill in between, a second run reuses it.
fn public_half(path: &PathBuf) -> Result<String> {
    let unreadable = |error: ssh_key::Error| {
        Failure::failed(format!("{} is not a private key", path.display()))
            .because(error.to_string())
            .next(format!("move it away (mv {0} {0}.old), then run the same command again", path.display()))
    };
    let there = || PrivateKey::read_openssh_file(path)?.public_key().to_openssh();
    if path.exists() {
        return there().map_err(unreadable);
    }
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(unreadable)?;
    let text = key.to_openssh(LineEnding::LF).map_err(unreadable)?;
    let folder = path.parent().unwrap_or(path);
    dirs::private(folder)?;
    let write = || {
        let mut file = tempfile::Builder::new().tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)
    };
    match write() {
        Ok(_) => key.public_key().to_openssh().map_err(unreadable),
        // Another run on this machine was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => there().map_err(unreadable),
        Err(error) => Err(unwritable(path, &error)),
    }
}

/// The public key of a discarded key: to check whether an import is permitted.
pub fn nobodys() -> Option<String> {
    PrivateKey::random(&mut OsRng, Algorithm::Ed25519).ok()?.public_key().to_openssh().ok()
}

fn private_half(context: &Context) -> Result<PathBuf> {
    Ok(dirs::state()?.join("keys").join(&context.account).join(&context.aws.region).join(&context.name))
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write {}", path.display()))
        .because(error.to_string())
        .next("make the folder writable for you")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::resources::Observed;

    #[test]
    fn the_private_key_is_private_and_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/hello");
        let first = public_half(&path).unwrap();
        assert!(first.starts_with("ssh-ed25519 "), "{first}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(public_half(&path).unwrap(), first);
    }

    #[test]
    fn an_existing_key_is_kept() {
        let key_pair = Lookup::Present(State { id: "key-1".into(), made: None, tags: Tags::new() });
        let have = Observed { key_pair, ..Observed::default() };
        let diff = |tags| Wanted { tags }.diff(&Sight::new(&[], &have)).unwrap();
        assert_eq!(diff(Tags::new()), None);
        assert!(diff(Tags::from([("team".into(), "web".into())])).is_some());
    }
}
