//! The `Procfile`: the commands of an app, as Heroku and others run them, one `name: command` a line.

use super::Files;
use super::settings::join;
use crate::config;

/// The commands of a `Procfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Procfile {
    /// `web`
    pub web: Option<String>,
    /// `release`
    pub release: Option<String>,
    /// All others, by name.
    pub processes: Vec<(String, String)>,
    /// Those whose names cannot be those of processes.
    pub unnamed: Vec<String>,
}

impl Procfile {
    /// The file in this folder; empty if there is none. Other lines than `name: command` do not count.
    pub fn of(files: &Files, path: &str) -> Self {
        let mut procfile = Self::default();
        for (name, command) in files.text(&join(path, "Procfile")).into_iter().flat_map(str::lines).filter_map(entry) {
            match name {
                "web" => procfile.web = Some(command.to_owned()),
                "release" => procfile.release = Some(command.to_owned()),
                _ => match config::is_program(&process_name(name)) {
                    true => procfile.processes.push((process_name(name), command.to_owned())),
                    false => procfile.unnamed.push(name.to_owned()),
                },
            }
        }
        procfile
    }

    /// Whether `web` starts this app: with `module`, `module:callable` or `module:callable()` as a word.
    pub fn serves(&self, module: &str, callable: &str) -> bool {
        let words = self.web.iter().flat_map(|command| command.split(|c: char| c.is_whitespace() || "'\"".contains(c)));
        let targets = [module.to_owned(), format!("{module}:{callable}")];
        words.map(|word| word.trim_end_matches("()")).any(|word| targets.iter().any(|target| target == word))
    }

    /// The commands that `web` runs before its server, if it is a list of commands. Nothing runs them here.
    pub fn before_web(&self) -> Option<&str> {
        self.web.as_deref()?.rsplit_once("&&").map(|(before, _)| before.trim())
    }
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let command = command.trim();
    (named && !command.is_empty()).then_some((name, command))
}

fn process_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Procfile {
        let mut files = Files::default();
        files.add("web/Procfile", text);
        Procfile::of(&files, "web")
    }

    #[test]
    fn each_line_is_a_command() {
        let found =
            of("# comment\nweb: python manage.py migrate && gunicorn shop.wsgi\nrelease: python manage.py migrate\n\
             worker: celery -A shop worker\r\nmail_queue: python mail.py\n1st: python first.py\nbeat:\n");
        assert_eq!(found.before_web(), Some("python manage.py migrate"));
        assert_eq!(found.release.as_deref(), Some("python manage.py migrate"));
        let processes = [("worker", "celery -A shop worker"), ("mail-queue", "python mail.py")];
        assert_eq!(found.processes, processes.map(|(name, command)| (name.to_owned(), command.to_owned())));
        assert_eq!(found.unnamed, ["1st"]);
        assert!(
            found.serves("shop.wsgi", "application") && !found.serves("shop", "wsgi") && !found.serves("wsgi", "app")
        );
        let factory = of("web: gunicorn 'shop:create_app()'");
        assert!(factory.serves("shop", "create_app") && !factory.serves("shop", "app"));
        assert_eq!(of("prerelease = x\nrelease:  \nno command\n"), Procfile::default());
        assert_eq!(Procfile::of(&Files::default(), ""), Procfile::default());
    }
}
