//! The text of `deploy.yaml`: short, every section with a line that says what it is for.

use super::advice::Plan;
use super::settings::Requirements;
use crate::config::Image;

impl Plan {
    /// The file's text.
    pub fn yaml(&self) -> String {
        let sections =
            [self.name_section(), self.app(), self.token(), self.instance(), NETWORK.to_owned(), self.health()];
        format!(
            "# What `devopsctl up` puts on AWS. What is commented out shows the default.\n\n{}",
            sections.join("\n")
        )
    }

    fn name_section(&self) -> String {
        format!(
            "# Part of every name in AWS. Two names are two deployments that never touch each other.\nname: {}\n",
            self.name
        )
    }

    fn app(&self) -> String {
        let path = if self.path.is_empty() { "." } else { &self.path };
        let requirements = match &self.requirements {
            Requirements::Convert(_, command) => {
                format!("  # It needs a requirements.txt: {command}\n")
            }
            Requirements::Missing => "  # It needs a requirements.txt that names what the app imports.\n".to_owned(),
            Requirements::Taken(..) => String::new(),
        };
        let module = match &self.module {
            Some((file, lines)) => {
                format!("  # {file} has to be written first:\n  #   {}\n  #   {}\n", lines[0], lines[1])
            }
            None => String::new(),
        };
        format!(
            "# The code, and how it is run.\napp:\n{requirements}  path: {}\n{module}  wsgi: {}\n  # workers: 2\n  # threads: 4\n  \
             # env: {{GREETING: Hello}}   # the app's settings; secrets do not belong here\n",
            quoted(path),
            quoted(&self.wsgi)
        )
    }

    fn token(&self) -> String {
        let comment = "# The secret that every call needs. `devopsctl set-token` changes it.\n";
        let env = match &self.token {
            Some((name, _)) => format!("  env: {}\n", quoted(name)),
            None => "  # env: APP_SECRET_TOKEN   # the environment variable in which the app finds it\n".to_owned(),
        };
        let enforce = "  # enforce: true           # an app that answers without it is refused\n";
        let path = self.token_path.as_ref().map(|path| format!("  path: {}   # where that is checked\n", quoted(path)));
        let body = format!("{env}{enforce}{}", path.unwrap_or_default());
        let section = if self.token.is_none() && self.token_path.is_none() { "# token:" } else { "token:" };
        match section {
            "token:" => format!("{comment}token:\n{body}"),
            _ => format!("{comment}# token:\n{}", body.replace("  # ", "#   ")),
        }
    }

    fn instance(&self) -> String {
        let kind = "t3.micro";
        let comment = "# The machine.\n";
        match self.image {
            Image::Debian13 => {
                format!("{comment}# instance:\n#   type: {kind}\n#   image: debian-13   # or ubuntu-24.04, al2023\n")
            }
            other => format!("{comment}instance:\n  # type: {kind}\n  image: {}   # for its Python\n", other.name()),
        }
    }

    fn health(&self) -> String {
        let comment = "# Answers 2xx or 3xx with the token when all is well.\n";
        match &self.health {
            Some((path, _)) if path != "/" => format!("{comment}health:\n  path: {}\n", quoted(path)),
            _ => format!("{comment}# health:\n#   path: /\n"),
        }
    }
}

const NETWORK: &str = "\
# How it is reached: by HTTPS, at its address or by a name of your own.
# network:
#   domain: app.example.com
#   allow: [0.0.0.0/0]   # who may connect
";

/// Plain where YAML cannot take it for anything else.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:()-".contains(c));
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || "/_.".contains(c)) && !text.ends_with(':');
    let word = text.contains(['/', '.', ':', '_']) || text.len() > 5;
    let null = ["", "~"].contains(&text);
    if plain && starts && word && !null { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
