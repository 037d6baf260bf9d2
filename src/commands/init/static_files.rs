//! The static files that a build writes and the app's code names: `app.static`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::Files;
use super::settings::join;
use crate::config::is_static;
use crate::release::code::regex;

static URL: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?m)^STATIC_URL *= *["']/?([^"':]*?)/?["']"#));
// `BASE_DIR / "a" / "b"`, `os.path.join(BASE_DIR, "a")`, `str(BASE_DIR / "a")`.
static ROOT: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?m)^STATIC_ROOT *= *[\w.(]*\bBASE_DIR((?: *[/,] *["'][^"']+["'])+)\)* *(?:#.*)?$"#));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| regex(r#"["']([^"']+)["']"#));
// Starlette and FastAPI: `app.mount("/assets", StaticFiles(directory="dist/assets"))`.
static MOUNT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"\.mount\(\s*["'](/[^"']*)["']\s*,\s*(?:app\s*=\s*)?StaticFiles\(\s*directory\s*=\s*["']([^"']+)["']"#)
});

/// The URL prefixes and folders for the code in `path`. `build`: the proposed `app.build`.
pub fn folders(files: &Files, path: &str, build: &[String]) -> BTreeMap<String, String> {
    let django = build.iter().any(|command| command.contains("collectstatic")).then(|| django(files, path)).flatten();
    let found = django.into_iter().chain(mounted(files, path, build));
    found.filter(|(prefix, folder)| is_static(prefix, folder)).collect()
}

/// Django's collected files. `WhiteNoise` already serves them.
fn django(files: &Files, path: &str) -> Option<(String, String)> {
    let mut texts = files.below(path).map(|(_, text)| text);
    if texts.any(|text| text.to_lowercase().contains("whitenoise")) {
        return None;
    }
    let setting = |of: &Regex| files.below(path).find_map(|(_, text)| Some(of.captures(text)?[1].to_owned()));
    let root: Vec<String> = QUOTED.captures_iter(&setting(&ROOT)?).map(|found| found[1].to_owned()).collect();
    Some((format!("/{}", setting(&URL)?), root.join("/")))
}

/// The folders of a frontend's build that the code mounts. The app's working directory is `path`.
fn mounted(files: &Files, path: &str, build: &[String]) -> Vec<(String, String)> {
    let is_built = |folder: &str| {
        let command = |command: &String| command.ends_with("run build");
        // The folder is not in the project: the build writes it, below a package.json.
        let below = |above: &str| files.has(&join(&join(path, above), "package.json"));
        let parents = folder.match_indices('/').map(|(at, _)| &folder[..at]).chain([""]);
        build.iter().any(command) && files.below(&join(path, folder)).next().is_none() && parents.into_iter().any(below)
    };
    let texts = files.below(path).filter(|(name, _)| name.ends_with(".py"));
    let found = texts.flat_map(|(_, text)| MOUNT.captures_iter(text).collect::<Vec<_>>());
    let pair = |found: regex::Captures<'_>| {
        let prefix = found[1].trim_end_matches('/');
        let folder = found[2].trim_start_matches("./").trim_end_matches('/').to_owned();
        (if prefix.is_empty() { "/" } else { prefix }.to_owned(), folder)
    };
    found.map(pair).filter(|(_, folder)| is_built(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::builds;
    use super::*;

    fn of(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut files = Files::default();
        list.iter().for_each(|(name, text)| files.add(*name, *text));
        let build = builds::commands(&files, "web", std::iter::empty());
        folders(&files, "web", &build).into_iter().collect()
    }

    fn django(settings: &str) -> Vec<(String, String)> {
        of(&[("web/manage.py", ""), ("web/shop/settings.py", settings), ("web/requirements.txt", "django\n")])
    }

    fn pair(prefix: &str, folder: &str) -> Vec<(String, String)> {
        vec![(prefix.to_owned(), folder.to_owned())]
    }

    #[test]
    fn djangos_settings_name_the_folder() {
        for root in [
            "BASE_DIR / 'out' / \"static\"  # x",
            "os.path.join(BASE_DIR, 'out', 'static')",
            "str(BASE_DIR / 'out/static')",
        ] {
            assert_eq!(
                django(&format!("STATIC_URL = 'static/'\nSTATIC_ROOT = {root}\n")),
                pair("/static", "out/static")
            );
        }
        assert_eq!(django("STATIC_URL = \"/a/b/\"\nSTATIC_ROOT = BASE_DIR / 'files'\n"), pair("/a/b", "files"));
        for settings in [
            "STATIC_URL = 'static/'\n",
            "STATIC_ROOT = BASE_DIR / 'files'\n",
            "STATIC_URL = 'https://cdn.example.com/'\nSTATIC_ROOT = BASE_DIR / 'files'\n",
            "STATIC_URL = '/static/'\nSTATIC_ROOT = '/var/www/static'\n",
            "STATIC_URL = '/static/'\nSTATIC_ROOT = os.environ['ROOT']\n",
            "STATIC_URL = '/static/'\nSTATIC_ROOT = BASE_DIR / '../files'\n",
            "MIDDLEWARE = ['whitenoise.middleware.WhiteNoiseMiddleware']\nSTATIC_URL = '/static/'\nSTATIC_ROOT = BASE_DIR / 'files'\n",
        ] {
            assert_eq!(django(settings), [], "{settings}");
        }
    }

    #[test]
    fn a_mounted_folder_of_a_frontends_build_is_served() {
        let app = "app.mount('/', StaticFiles(directory='ui/dist', html=True))\n\
                   app.mount(\"/own\", StaticFiles(directory=\"own\"))\n";
        let package = ("web/ui/package.json", r#"{"scripts": {"build": "vite build"}}"#);
        assert_eq!(of(&[("web/app.py", app), package]), pair("/", "ui/dist"));
        assert_eq!(of(&[("web/app.py", app)]), []);
        assert_eq!(of(&[("web/app.py", app), package, ("web/ui/dist/index.html", "")]), []);
    }
}
