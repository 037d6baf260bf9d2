//! The image that an instance was launched from, and whether there is a newer one: for people, so what cannot be looked at
//! is left out.

use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};

use crate::aws::{Aws, call, explain};
use crate::base::error::Result;

/// What is known of an instance's image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// `ami-…`
    pub id: String,
    /// Its publisher's name for it.
    pub name: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// The id of the newest image of its kind, if that was made later.
    pub newer: Option<String>,
}

/// Looks at an image. `parameter` names the newest one of its kind.
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

/// The newest image's id, if the region has it: the public parameter says so.
///
/// # Errors
/// What SSM says.
pub async fn newest(aws: &Aws, parameter: &str) -> Result<Option<String>> {
    let answer = call("ssm:GetParameters", || aws.ssm.get_parameters().names(parameter).send()).await;
    let answer = answer.map_err(|error| explain("cannot look up the newest image", &error))?;
    Ok(answer.parameters.unwrap_or_default().into_iter().find_map(|found| found.value))
}

/// A publisher may take a build back, so that an older one is the newest again.
fn is_newer(other: Option<i64>, own: Option<i64>) -> bool {
    other.zip(own).is_none_or(|(other, own)| other > own)
}

/// Its name, and when it was made. Two years after that its publisher's images are deprecated:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html>
async fn look(aws: &Aws, id: &str) -> Option<(Option<String>, Option<i64>)> {
    let request = || aws.ec2.describe_images().image_ids(id).include_deprecated(true).send();
    let answer = call("ec2:DescribeImages", request).await.ok()?;
    let image = answer.images?.into_iter().next()?;
    let created = image.creation_date.and_then(|text| DateTime::from_str(&text, DateTimeFormat::DateTime).ok());
    Some((image.name, created.map(|at| at.secs())))
}

impl Build {
    /// How old it is, in words.
    pub fn age(&self, now: i64) -> Option<String> {
        let days = now.saturating_sub(self.created?).max(0) / 86400;
        Some(match days {
            0 => "made today".to_owned(),
            1 => "1 day old".to_owned(),
            days => format!("{days} days old"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_age_is_told_in_days() {
        let age = |created| Build { created, ..Build::default() }.age(1_000_000);
        assert_eq!(age(None), None);
        assert_eq!(age(Some(1_000_000 - 86_399)).unwrap(), "made today");
        assert_eq!(age(Some(1_000_000 - 86_400)).unwrap(), "1 day old");
        assert_eq!(age(Some(1_000_000 - 5 * 86_400)).unwrap(), "5 days old");
        assert_eq!(age(Some(2_000_000)).unwrap(), "made today", "the clocks differ");
    }

    #[test]
    fn one_that_was_taken_back_is_not_newer() {
        assert!(is_newer(Some(2), Some(1)) && !is_newer(Some(1), Some(2)));
        assert!(is_newer(None, Some(1)) && is_newer(Some(1), None));
    }
}
