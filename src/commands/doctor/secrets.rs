//! The secrets that the app needs: whether a user has set them, and whether those that are kept elsewhere exist. No value is read.

use std::collections::BTreeMap;

use super::Check;
use crate::aws::Aws;
use crate::base::next::Next;
use crate::config::{Deployment, Reference, SecretOrigin};
use crate::engine::observe;
use crate::engine::spec::unset_secrets;
use crate::resources::references::{self, Found};
use crate::resources::secrets::Stored;

const SECRETS: &str = "secrets";
const ELSEWHERE: &str = "secrets elsewhere";

/// `None` if the app needs none, or if the secrets could not be listed: then the check of the permissions says why.
pub fn judge(deployment: &Deployment, stored: Option<&Stored>) -> Option<Check> {
    let (stored, app) = (stored?, &deployment.app);
    let needed = app.secrets.len() - app.references().len();
    if needed == 0 {
        return None;
    }
    let unset = |origin| unset_secrets(deployment, Some(stored), origin);
    let (missing, generated) = (unset(&SecretOrigin::Set), unset(&SecretOrigin::Generated));
    if !missing.is_empty() {
        let next = Next::from("set what is missing: ").run(format!("secrets set {}", missing.join(" ")));
        return Some(Check::fail(SECRETS, format!("not set: {}", missing.join(", ")), next));
    }
    let seen = match needed - generated.len() {
        0 => String::new(),
        1 => "1 is set".to_owned(),
        many => format!("{many} are set"),
    };
    let generated = (!generated.is_empty()).then(|| format!("up generates {}", generated.join(", ")));
    let seen: Vec<String> = [Some(seen), generated].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    Some(Check::pass(SECRETS, seen.join("; ")))
}

/// Looks up the secrets that are kept elsewhere. `None` if the app refers to none.
pub async fn observe(aws: &Aws, deployment: &Deployment) -> Option<Check> {
    let named = deployment.app.references();
    if named.is_empty() {
        return None;
    }
    let look = async {
        references::check_region(&named, &aws.region)?;
        observe::references(aws, Some(&deployment.app)).await
    };
    Some(match look.await {
        Ok(found) => found_elsewhere(&named, found.present().unwrap_or(&BTreeMap::new())),
        Err(failure) => Check::failed(ELSEWHERE, &failure),
    })
}

fn found_elsewhere(named: &BTreeMap<&str, &Reference>, found: &Found) -> Check {
    let (unusable, hidden) = (references::unusable(named, found), references::hidden(named, found));
    match (unusable.is_empty(), hidden.is_empty()) {
        (false, _) => {
            let next = "create the secret there, or correct the reference in deploy.yaml";
            Check::fail(ELSEWHERE, unusable.join("; "), next)
        }
        (true, false) => {
            let next = "the instance reads them with its own role; to check them, ask for the permission";
            Check::warn(ELSEWHERE, format!("not checked: {}", hidden.join("; ")), next)
        }
        (true, true) => Check::pass(ELSEWHERE, format!("{} found", named.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::State;
    use super::*;
    use crate::config;
    use crate::resources::secrets;

    fn check(needed: &str, set: &[&str]) -> Option<Check> {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("name: shop\napp:\n  path: .\n  secrets: {needed}\n");
        let deployment = config::parse(&text, Path::new("deploy.yaml"), folder.path()).unwrap();
        let state = secrets::State { version: 1, modified: 0 };
        let stored = set.iter().map(|name| ((*name).to_owned(), state)).collect();
        judge(&deployment, Some(&stored))
    }

    #[test]
    fn a_missing_secret_fails_with_the_command_that_sets_it() {
        let check = check("[A, B, C, {D: generate}]", &["B"]).unwrap();
        assert!(check.is_failed());
        assert_eq!(check.seen, "not set: A, C");
        assert_eq!(check.next.unwrap().to_string(), "set what is missing: devopsctl secrets set A C");
    }

    #[test]
    fn a_generated_secret_is_not_missing() {
        let seen = |needed: &str, set: &[&str]| {
            let check = check(needed, set).unwrap();
            assert_eq!(check.state, State::Pass);
            check.seen
        };
        assert_eq!(seen("[A, {D: generate}]", &["A", "X"]), "1 is set; up generates D");
        assert_eq!(seen("[{D: generate}]", &[]), "up generates D");
        assert_eq!(seen("[A, {D: generate}]", &["A", "D"]), "2 are set");
        assert_eq!(check("[]", &["X"]), None);
    }
}
