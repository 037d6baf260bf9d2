//! gunicorn: whether the requirements list it, and which version.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::aws::Target;
use crate::base::error::{Exit, Failure, Result};

/// The version to install if the app does not list gunicorn: the newest one for the target's Python.
pub(super) fn pinned(target: &Target) -> &'static str {
    if target.python() == "3.9" { "gunicorn==23.0.0" } else { "gunicorn==27.0.1" }
}

static GUNICORN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?mi)(?:^|["'])\s*(gunicorn\s*(?:\[[^\]\n]*\])?\s*(?:===?\s*([0-9][0-9a-z.]*))?)(?:[^\w.-]|$)"#)
        .expect("a regex")
});

/// Whether the requirements list gunicorn.
pub(super) fn is_listed(text: &str) -> bool {
    GUNICORN.is_match(text)
}

/// The first version with a setting for the app's name, which the agent uses.
const OLDEST: [u32; 2] = [20, 1];

/// Checks that no gunicorn is pinned that is too old.
pub(super) fn check(file: &Path, text: &str) -> Result<()> {
    for found in GUNICORN.captures_iter(text) {
        // `==20.*` may match a newer one.
        let version = found.get(2).map(|version| version.as_str()).filter(|version| !version.ends_with('.'));
        let Some(version) = version else { continue };
        let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
        if parts.as_slice() < OLDEST.as_slice() {
            let what = format!("{} requires gunicorn {version}, which cannot run the app", file.display());
            return Err(Failure::new(Exit::Usage, what)
                .because("devopsctl needs gunicorn 20.1 or newer")
                .standing("Nothing was changed in AWS.")
                .next(format!("in {}, replace `{}` by `gunicorn>=20.1`", file.display(), found[1].trim())));
        }
    }
    Ok(())
}

/// Whether gunicorn is installed in `site`.
pub(super) fn is_installed(site: &Path) -> bool {
    site.join("gunicorn").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gunicorn_is_found_in_requirements() {
        for text in [
            "gunicorn",
            "gunicorn==23.0.0",
            "flask\ngunicorn>=20",
            "dependencies = [\n  \"gunicorn\",\n]",
            "gunicorn[gthread]",
            "dependencies = [\"flask\", \"gunicorn==20.1.0\"]",
            "Gunicorn == 20.1.0",
        ] {
            assert!(is_listed(text), "{text}");
        }
        for text in ["flask", "gunicorn-extras", "# gunicorn", "not-gunicorn"] {
            assert!(!is_listed(text), "{text}");
        }
    }

    #[test]
    fn a_gunicorn_that_is_too_old_is_refused_with_the_line_to_change() {
        let file = Path::new("app/requirements.txt");
        for (text, line) in [
            ("flask\ngunicorn==19.9.0\n", "gunicorn==19.9.0"),
            ("gunicorn==20.0.4 --hash=sha256:0", "gunicorn==20.0.4"),
            ("gunicorn==20", "gunicorn==20"),
            ("gunicorn[gevent] === 19.10.0 ; python_version > '3'", "gunicorn[gevent] === 19.10.0"),
            ("dependencies = ['flask', 'gunicorn==0.17']", "gunicorn==0.17"),
        ] {
            let failure = check(file, text).unwrap_err();
            assert!(
                failure.next_step().is_some_and(|next| next.to_string().contains(&format!("`{line}` by"))),
                "{failure:?}"
            );
        }
        for text in [
            "gunicorn==20.1.0",
            "gunicorn==21.2",
            "gunicorn==27.0.1",
            "gunicorn==20.*",
            "gunicorn>=19",
            "gunicorn-x==1",
            "gunicorn",
        ] {
            assert!(check(file, text).is_ok(), "{text}");
        }
    }
}
