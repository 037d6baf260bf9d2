//! The commands that write files of the app: `app.build`.

use serde_json::Value;

use super::Files;
use super::settings::join;

/// The commands for the code in `path`: the build of its frontend, and Django's collected static files, which may contain it.
/// `secrets`: the names of the secrets that the app needs.
pub fn commands<'a>(files: &Files, path: &str, secrets: impl Iterator<Item = &'a str>) -> Vec<String> {
    frontend(files, path).into_iter().chain(collected(files, path, secrets)).collect()
}

/// The build that the nearest `package.json` names, with the program that its lock file belongs to.
fn frontend(files: &Files, path: &str) -> Option<String> {
    let builds = |name: &&str| {
        let manifest: Option<Value> = files.text(name).and_then(|text| serde_json::from_str(text).ok());
        manifest.is_some_and(|manifest| manifest["scripts"]["build"].is_string())
    };
    let manifests =
        files.below(path).map(|(name, _)| name).filter(|name| name.rsplit('/').next() == Some("package.json"));
    let manifest = manifests.filter(builds).min_by_key(|name| name.matches('/').count())?;
    let folder = manifest.strip_suffix("package.json")?.trim_end_matches('/');
    let has = |name: &str| files.has(&join(folder, name));
    let command = match () {
        () if has("pnpm-lock.yaml") => "pnpm install --frozen-lockfile && pnpm run build",
        () if has("yarn.lock") => "yarn install --frozen-lockfile && yarn run build",
        () if has("package-lock.json") => "npm ci && npm run build",
        () => "npm install && npm run build",
    };
    match folder.strip_prefix(path)?.trim_start_matches('/') {
        "" => Some(command.to_owned()),
        inside => Some(format!("cd {} && {command}", shell_word(inside)?)),
    }
}

/// Django's command, if the settings say where the files go. The settings need a value for each secret, and a build gets none.
fn collected<'a>(files: &Files, path: &str, secrets: impl Iterator<Item = &'a str>) -> Option<String> {
    let root =
        |(name, text): (&str, &str)| name.ends_with(".py") && text.lines().any(|line| line.starts_with("STATIC_ROOT"));
    let collects = files.has(&join(path, "manage.py")) && files.below(path).any(root);
    let settings: String = secrets.map(|name| format!("{name}={} ", unused(name))).collect();
    collects.then(|| format!("{settings}python manage.py collectstatic --noinput"))
}

/// A value that the settings accept: they parse a database's URL, but nothing connects to it.
fn unused(name: &str) -> &'static str {
    if name.ends_with("DATABASE_URL") { "sqlite://:memory:" } else { "unused" }
}

/// A folder that needs no quotes in a shell.
fn shell_word(folder: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    (folder.chars().all(plain) && !folder.starts_with('-')).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)]) -> Vec<String> {
        let mut files = Files::default();
        list.iter().for_each(|(name, text)| files.add(*name, *text));
        commands(&files, "web", ["DATABASE_URL", "SECRET_KEY"].into_iter())
    }

    #[test]
    fn the_projects_own_files_name_the_commands() {
        let build = r#"{"scripts": {"build": "vite build"}}"#;
        assert_eq!(of(&[("web/package.json", build), ("web/package-lock.json", "")]), ["npm ci && npm run build"]);
        let nested = [("web/ui/package.json", build), ("web/ui/yarn.lock", ""), ("package.json", build)];
        assert_eq!(of(&nested), ["cd ui && yarn install --frozen-lockfile && yarn run build"]);
        assert_eq!(of(&[("web/package.json", "{}"), ("web/a b/package.json", build)]), [""; 0]);
        let django = [("web/manage.py", ""), ("web/shop/settings.py", "STATIC_ROOT = BASE_DIR / 'static'\n")];
        let settings = "DATABASE_URL=sqlite://:memory: SECRET_KEY=unused";
        assert_eq!(of(&django), [format!("{settings} python manage.py collectstatic --noinput")]);
        assert_eq!(of(&django[..1]), [""; 0]);
    }
}
