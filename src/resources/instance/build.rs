//! The build of an instance's image, and whether there is a newer one: information for users, so a failed read is
//! omitted.

use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};

use crate::aws::{Aws, call, explain};
use crate::base::error::Result;

/// The image of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// `ami-…`
    pub id: String,
    /// The publisher's name for it.
    pub name: Option<String>,
    /// The build time, in seconds since 1970.
    pub created: Option<i64>,
    /// The id of the newest image of its kind, if that was built later.
    pub newer: Option<String>,
}

/// Reads an image. `parameter` names the newest one of its kind.
pub async fn build(aws: &Aws, id: &str, parameter: Option<&str>) -> Build {
    let newest = async {
        match parameter {
            Some(parameter) => newest(aws, parameter).await.ok().flatten(),
            None => None,
        }
    };
    let (own, newest) = tokio::join!(look(aws, id), newest);
    let (name, created) = own.unwrap_or_default();
    let newer = match newest.filter(|newest| newest != id) {
        Some(newest) => {
            let made = look(aws, &newest).await.and_then(|(_, created)| created);
            Some(newest).filter(|_| is_newer(made, created))
        }
        None => None,
    };
    Build { id: id.to_owned(), name, created, newer }
}

/// The newest image's id from the public parameter, if the region has it.
///
/// # Errors
/// A call to SSM fails.
pub async fn newest(aws: &Aws, parameter: &str) -> Result<Option<String>> {
    let answer = call("ssm:GetParameters", || aws.ssm.get_parameters().names(parameter).send()).await;
    let answer = answer.map_err(|error| explain("cannot look up the newest image", &error))?;
    Ok(answer.parameters.unwrap_or_default().into_iter().find_map(|found| found.value))
}

/// A publisher may withdraw a build, so that an older one is the newest again.
fn is_newer(other: Option<i64>, own: Option<i64>) -> bool {
    other.zip(own).is_none_or(|(other, own)| other > own)
}

/// The name and build time. Publishers' images are deprecated two years later:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html>
async fn look(aws: &Aws, id: &str) -> Option<(Option<String>, Option<i64>)> {
    let request = || aws.ec2.describe_images().image_ids(id).include_deprecated(true).send();
    let answer = call("ec2:DescribeImages", request).await.ok()?;
    let image = answer.images?.into_iter().next()?;
    let created = image.creation_date.and_then(|text| DateTime::from_str(&text, DateTimeFormat::DateTime).ok());
    Some((image.name, created.map(|at| at.secs())))
}

impl Build {
    /// Its age, in words.
    pub fn age(&self, now: i64) -> Option<String> {
        let days = now.saturating_sub(self.created?).max(0) / 86400;
        Some(match days {
            0 => "built today".to_owned(),
            1 => "1 day old".to_owned(),
            days => format!("{days} days old"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_in_days() {
        let age = |created| Build { created, ..Build::default() }.age(1_000_000);
        assert_eq!(age(None), None);
        assert_eq!(age(Some(1_000_000 - 86_399)).unwrap(), "built today");
        assert_eq!(age(Some(1_000_000 - 86_400)).unwrap(), "1 day old");
        assert_eq!(age(Some(1_000_000 - 5 * 86_400)).unwrap(), "5 days old");
        assert_eq!(age(Some(2_000_000)).unwrap(), "built today", "the clocks differ");
    }

    #[test]
    fn a_withdrawn_build_is_not_newer() {
        assert!(is_newer(Some(2), Some(1)) && !is_newer(Some(1), Some(2)));
        assert!(is_newer(None, Some(1)) && is_newer(Some(1), None));
    }
}
