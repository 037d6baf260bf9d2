//! The errors for requirements that uv cannot resolve or install.

use super::{Requirements, logins};
use crate::aws::Target;
use crate::base::error::{Exit, Failing, Failure};
use crate::base::next::Next;
use crate::base::uv;
use crate::release::wheels;

/// What uv prints if an index refuses a login, or wants one.
const DENIED: [&str; 3] = ["401 Unauthorized", "403 Forbidden", "lack of valid authentication"];

/// The error for a release. `said`: what uv printed.
pub(super) fn of_release(requirements: &Requirements, target: &Target, said: &str) -> Failure {
    let file = requirements.name();
    if let Some(failure) = denied(requirements, said) {
        return failure;
    }
    if let Some(packages) = wheels::unbuilt(said).filter(|_| !requirements.builds) {
        return no_wheels(&packages, &file, target, said);
    }
    if let Target::Host { version, image, .. } = target
        && version != image
    {
        let what = format!("cannot install the requirements in {file} for this machine's Python {version}");
        let next = Next::from(format!("install Python {image} (for example: uv python install {image}), run "));
        return another_python(what, image, said).next(next.run_bare("sandbox stop").and(AGAIN));
    }
    let what = format!("cannot install the requirements in {file} for Python {}", target.python());
    Failure::new(Exit::Usage, what)
        .because(uv::words(said))
        .standing("Nothing was changed in AWS.")
        .next(format!("correct {}{AGAIN}", requirements.file.display()))
}

/// The error for the environment of `app.build`. `version`: that of its Python, if it is known.
pub(super) fn of_build(requirements: &Requirements, target: &Target, version: Option<&str>, said: &str) -> Failure {
    if let Some(failure) = denied(requirements, said) {
        return failure;
    }
    let image = match target {
        Target::Image { python, .. } => python,
        Target::Host { image, .. } => image,
    };
    let what = format!("cannot install the requirements in {} on this machine, for app.build", requirements.name());
    if let Some(version) = version.filter(|version| version != image) {
        return another_python(format!("{what}, with Python {version}"), image, said)
            .next(format!("install Python {image} (for example: uv python install {image}){AGAIN}"));
    }
    Failure::new(Exit::Usage, what)
        .because(uv::words(said))
        .standing("Nothing was changed in AWS.")
        .next("require versions that have wheels for this machine too, or remove app.build and commit what it writes")
}

const AGAIN: &str = ", then run the same command again";

/// The requirements may be valid for the image.
fn another_python(what: String, image: &str, said: &str) -> Failing {
    Failure::new(Exit::Usage, what)
        .because(uv::words(said))
        .because(format!("the instance's image has Python {image}, which is not installed on this machine"))
        .standing("Nothing was changed in AWS.")
}

/// The error if an index wants another login.
fn denied(requirements: &Requirements, said: &str) -> Option<Failure> {
    if !DENIED.iter().any(|words| said.contains(words)) {
        return None;
    }
    let what = format!("a package index refuses access to the requirements in {}", requirements.name());
    let failure = Failure::new(Exit::Usage, what).because(uv::words(said)).standing("Nothing was changed in AWS.");
    let withheld = logins::withheld(&requirements.local.text());
    if !withheld.is_empty() {
        let names = withheld.join(", ");
        return Some(
            failure
                .because(format!("uv gets only variables whose names begin with UV_ or PIP_, and not {names}"))
                .next(format!("give {names} such a name, for example UV_{}{AGAIN}", withheld[0])),
        );
    }
    Some(failure.next(format!(
        "check the login for that index: in UV_INDEX_<NAME>_USERNAME and UV_INDEX_<NAME>_PASSWORD, in the URL in UV_INDEX, \
         UV_DEFAULT_INDEX or PIP_INDEX_URL, or in ~/.netrc{AGAIN}"
    )))
}

fn no_wheels(packages: &[String], file: &str, target: &Target, said: &str) -> Failure {
    let advice = wheels::ALLOW;
    if packages.is_empty() {
        return wheels::refused(format!("a project that {file} lists by its path needs a build"))
            .because(uv::words(said))
            .next(format!("write it as `name @ file:///path/to/name.whl`; or, {advice}"));
    }
    let (names, them) = (packages.join(", "), if packages.len() == 1 { "it" } else { "each" });
    let refused = wheels::refused(format!("there is no wheel of {names} for Python {}", target.python()));
    let refused = match target {
        Target::Host { version, image, .. } if version != image => refused.because(format!(
            "the instance's image has Python {image}, which is not installed on this machine and for which there may be a wheel"
        )),
        _ => refused,
    };
    refused
        .because(uv::words(said))
        .next(format!("in {file}, require a version of {them} that has wheels; or, {advice}"))
}
