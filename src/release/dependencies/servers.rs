//! The servers that run the app: gunicorn, and for an ASGI app also uvicorn. Which of them the requirements list, and which version.

use std::path::Path;

use regex::Regex;

use crate::aws::Target;
use crate::base::error::{Exit, Failure, Result};

/// A package that runs the app.
struct Server {
    name: &'static str,
    /// The versions to install if the app does not list it: for Python 3.9, and the newest one for later Pythons.
    versions: [&'static str; 2],
    /// The first version that the agent supports, if it depends on one.
    oldest: Option<[u32; 2]>,
    /// Whether it only makes uvicorn faster, so that a target without a wheel for it does without.
    optional: bool,
}

/// The first version with a setting for the app's name, which the agent uses.
const GUNICORN: Server =
    Server { name: "gunicorn", versions: ["23.0.0", "27.0.1"], oldest: Some([20, 1]), optional: false };

const UVICORN: [Server; 4] = [
    Server { name: "uvicorn", versions: ["0.39.0", "0.54.0"], oldest: Some([0, 23]), optional: false },
    Server { name: "websockets", versions: ["15.0.1", "17.4"], oldest: None, optional: false },
    Server { name: "httptools", versions: ["0.9.0", "0.9.0"], oldest: None, optional: true },
    Server { name: "uvloop", versions: ["0.23.0", "0.23.0"], oldest: None, optional: true },
];

/// The servers of an app.
fn servers(asgi: bool) -> impl Iterator<Item = &'static Server> {
    [&GUNICORN].into_iter().chain(UVICORN.iter().filter(move |_| asgi))
}

impl Server {
    /// Its requirement: never in conflict with the app's own.
    fn pinned(&self, target: &Target) -> String {
        format!("{}=={}", self.name, self.versions[usize::from(target.python() != "3.9")])
    }

    /// The line of the requirements that lists it, and the version if that is pinned.
    fn pattern(&self) -> Regex {
        let name = self.name;
        Regex::new(&format!(
            r#"(?mi)(?:^|["'])\s*({name}\s*(?:\[[^\]\n]*\])?\s*(?:===?\s*([0-9][0-9a-z.]*))?)(?:[^\w.-]|$)"#
        ))
        .expect("a regex")
    }
}

/// The requirements for the servers. A bare name never overrides the app's own pin.
pub(super) fn wanted(target: &Target, asgi: bool, listed: &str) -> Vec<String> {
    let is_listed = |server: &Server| server.pattern().is_match(listed);
    servers(asgi).map(|one| if is_listed(one) { one.name.to_owned() } else { one.pinned(target) }).collect()
}

/// The same, for a target without wheels of the optional servers, or an app whose packages need another version of uvicorn.
pub(super) fn least(target: &Target, asgi: bool, listed: &str) -> Vec<String> {
    let needed = wanted(target, asgi, listed).into_iter().zip(servers(asgi)).filter(|(_, server)| !server.optional);
    let any = |(wanted, server): (String, &Server)| match server.oldest {
        _ if server.name == GUNICORN.name => wanted,
        Some([major, minor]) => format!("{}>={major}.{minor}", server.name),
        None => server.name.to_owned(),
    };
    needed.map(any).collect()
}

/// Those of the requirements whose package is not installed in `site`.
pub(super) fn missing(site: &Path, wanted: Vec<String>) -> Vec<String> {
    let name = |one: &str| one.split(['=', '>']).next().unwrap_or_default().to_owned();
    wanted.into_iter().filter(|one| !site.join(name(one)).is_dir()).collect()
}

/// Checks that no server is pinned that is too old.
pub(super) fn check(file: &Path, text: &str, asgi: bool) -> Result<()> {
    for server in servers(asgi) {
        let Some(oldest @ [major, minor]) = server.oldest else { continue };
        let name = server.name;
        for found in server.pattern().captures_iter(text) {
            // `==20.*` may match a newer one.
            let version = found.get(2).map(|version| version.as_str()).filter(|version| !version.ends_with('.'));
            let Some(version) = version else { continue };
            let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
            if parts.as_slice() < oldest.as_slice() {
                let what = format!("{} requires {name} {version}, which cannot run the app", file.display());
                return Err(Failure::new(Exit::Usage, what)
                    .because(format!("devopsctl needs {name} {major}.{minor} or newer"))
                    .standing("Nothing was changed in AWS.")
                    .next(format!(
                        "in {}, replace `{}` by `{name}>={major}.{minor}`",
                        file.display(),
                        found[1].trim()
                    )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(python: &'static str) -> Target {
        Target::Image { python, platform: "x86_64-manylinux_2_34" }
    }

    #[test]
    fn a_server_is_found_in_requirements() {
        for text in [
            "gunicorn",
            "gunicorn==23.0.0",
            "flask\ngunicorn>=20",
            "dependencies = [\n  \"gunicorn\",\n]",
            "gunicorn[gthread]",
            "dependencies = [\"flask\", \"gunicorn==20.1.0\"]",
            "Gunicorn == 20.1.0",
        ] {
            assert_eq!(wanted(&target("3.13"), false, text), ["gunicorn"], "{text}");
        }
        for text in ["flask", "gunicorn-extras", "# gunicorn", "not-gunicorn", "uvicorn"] {
            assert_eq!(wanted(&target("3.13"), false, text), ["gunicorn==27.0.1"], "{text}");
        }
    }

    #[test]
    fn an_asgi_app_gets_uvicorn_unless_it_lists_it() {
        let all = ["gunicorn==23.0.0", "uvicorn==0.39.0", "websockets==15.0.1", "httptools==0.9.0", "uvloop==0.23.0"];
        assert_eq!(wanted(&target("3.9"), true, "fastapi"), all);
        let listed = "uvicorn[standard]==0.30.1\nuvloop";
        let own = ["gunicorn==27.0.1", "uvicorn", "websockets==17.4", "httptools==0.9.0", "uvloop"];
        assert_eq!(wanted(&target("3.13"), true, listed), own);
        assert_eq!(least(&target("3.13"), true, listed), ["gunicorn==27.0.1", "uvicorn>=0.23", "websockets"]);
        assert_eq!(least(&target("3.13"), false, listed), wanted(&target("3.13"), false, listed));
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir(site.path().join("uvicorn")).unwrap();
        let absent = missing(site.path(), least(&target("3.13"), true, ""));
        assert_eq!(absent, ["gunicorn==27.0.1", "websockets"]);
    }

    #[test]
    fn a_server_that_is_too_old_is_refused_with_the_line_to_change() {
        let file = Path::new("app/requirements.txt");
        for (text, line) in [
            ("flask\ngunicorn==19.9.0\n", "gunicorn==19.9.0"),
            ("gunicorn==20.0.4 --hash=sha256:0", "gunicorn==20.0.4"),
            ("gunicorn==20", "gunicorn==20"),
            ("gunicorn[gevent] === 19.10.0 ; python_version > '3'", "gunicorn[gevent] === 19.10.0"),
            ("dependencies = ['flask', 'gunicorn==0.17']", "gunicorn==0.17"),
            ("fastapi\nuvicorn[standard]==0.17.6\n", "uvicorn[standard]==0.17.6"),
        ] {
            let failure = check(file, text, true).unwrap_err();
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
            "uvicorn==0.17.6",
        ] {
            assert!(check(file, text, false).is_ok(), "{text}");
        }
    }
}
