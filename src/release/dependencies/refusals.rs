//! The errors for requirements that uv cannot resolve or install.

use super::{Requirements, logins};
use crate::aws::Target;
use crate::base::error::{Exit, Failing, Failure};
use crate::base::next::Next;
use crate::base::uv;
use crate::release::wheels;

/// The words that uv prints if an index refuses a login, or wants one.
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
        .next(requirements.correction())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements(text: &str) -> Requirements {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("requirements.txt"), text).unwrap();
        let mut app = crate::config::named("app").unwrap().app;
        app.path = folder.path().to_owned();
        Requirements::find(&app, false).unwrap()
    }

    #[test]
    fn the_python_of_a_build_is_named_if_it_is_not_that_of_the_image() {
        let target = Target::Image { python: "3.13", platform: "x86_64-manylinux_2_40" };
        let of = |version| of_build(&requirements("flask"), &target, version, "error: no version of flask");
        let failure = of(Some("3.9"));
        assert!(failure.what().ends_with("for app.build, with Python 3.9"), "{failure}");
        let said = crate::ui::render(&failure, 400, false);
        assert!(said.contains("image has Python 3.13") && said.contains("uv python install 3.13"), "{said}");
        for version in [Some("3.13"), None] {
            let said = crate::ui::render(&of(version), 400, false);
            assert!(said.contains("wheels for this machine") && !said.contains("with Python"), "{said}");
        }
    }

    #[test]
    fn an_index_that_refuses_is_named_before_other_reasons() {
        let said = "hint: An index (https://x) returned a 403 Forbidden error\nWheels are required for `x`";
        let requirements = requirements("--index-url https://${TOKEN}@x\nx\n");
        let target = Target::Image { python: "3.13", platform: "x86_64-manylinux_2_40" };
        for failure in [of_release(&requirements, &target, said), of_build(&requirements, &target, None, said)] {
            let said = crate::ui::render(&failure, 400, false);
            assert!(said.contains("a package index refuses access") && said.contains("for example UV_TOKEN"), "{said}");
        }
    }
}
