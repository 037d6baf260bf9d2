//! The text of `deploy.yaml`: short, with a line of explanation for each section.

use super::advice::Plan;
use super::django::Setting;
use super::secrets::Secret;
use super::settings::Requirements;
use crate::release::websockets::{Sockets, THREADS};

impl Plan {
    /// The file's text.
    pub fn yaml(&self) -> String {
        let sections = [
            self.name_section(),
            self.app(),
            self.processes(),
            self.token(),
            self.instance(),
            NETWORK.to_owned(),
            self.health(),
        ];
        format!(
            "# The deployment that `devopsctl up` creates on AWS. Lines that are commented out show the defaults.\n\n{}",
            sections.join("\n")
        )
    }

    fn name_section(&self) -> String {
        format!(
            "# Part of every resource name in AWS. Deployments with different names are independent.\nname: {}\n",
            self.name
        )
    }

    fn app(&self) -> String {
        let path = if self.path.is_empty() { "." } else { &self.path };
        let requirements = match &self.requirements {
            Requirements::Missing => {
                "  # It needs a requirements.txt that lists the packages the app imports.\n".to_owned()
            }
            Requirements::Taken(..) => String::new(),
        };
        let module = match &self.module {
            Some((file, lines)) => {
                format!("  # Write {file} first:\n  #   {}\n  #   {}\n", lines[0], lines[1])
            }
            None => String::new(),
        };
        let build = match self.build.as_slice() {
            [] => String::new(),
            [one] => format!("  build: {}   # what it writes is deployed\n", quoted(one)),
            several => {
                let lines = several.iter().map(|command| format!("    - {}\n", quoted(command)));
                format!("  # What they write is deployed.\n  build:\n{}", lines.collect::<String>())
            }
        };
        let release = self
            .release
            .as_ref()
            .map(|command| format!("  release: {}   # runs on the instance, once for each release\n", quoted(command)));
        let release = release.unwrap_or_default();
        let local = match self.local {
            true => "  build_dependencies: true   # local packages are built, and packages without a wheel, too\n",
            false => "",
        };
        format!(
            "# The code, and how to run it.\napp:\n{requirements}  path: {}\n{module}  web: {}\n{build}{release}{local}{}{}{}{}",
            quoted(path),
            quoted(&self.web),
            self.statics(),
            self.threads(),
            self.env(),
            self.secrets()
        )
    }

    fn processes(&self) -> String {
        let comment = "# Commands that run beside the web app, such as a worker.\n";
        if self.processes.is_empty() {
            return format!("{comment}# processes: {{worker: python worker.py}}\n");
        }
        let entry = |(name, command): &(String, String)| format!("  {name}: {}\n", quoted(command));
        format!("{comment}processes:\n{}", self.processes.iter().map(entry).collect::<String>())
    }

    fn env(&self) -> String {
        if self.env.is_empty() {
            return "  # env: {GREETING: Hello}   # the app's settings; no secrets\n".to_owned();
        }
        let entry = |Setting { name, value, why, .. }: &Setting| format!("    {name}: {}   # {why}\n", quoted(value));
        let entries: String = self.env.iter().map(entry).collect();
        format!("  # The app's settings; no secrets.\n  env:\n{entries}")
    }

    fn statics(&self) -> String {
        let pair = |(prefix, folder): (&String, &String)| format!("{}: {}", quoted(prefix), quoted(folder));
        let pairs: Vec<String> = self.static_files.iter().map(pair).collect();
        match pairs.is_empty() {
            true => String::new(),
            false => format!("  static: {{{}}}   # served without the app\n", pairs.join(", ")),
        }
    }

    fn threads(&self) -> String {
        let Some(Sockets { package, single, .. }) = &self.sockets else {
            return "  # workers: 2\n  # threads: 4\n".to_owned();
        };
        let workers = match single {
            true => format!("  workers: 1   # {package} needs all requests of a client in the same process\n"),
            false => "  # workers: 2\n".to_owned(),
        };
        format!("{workers}  threads: {THREADS}   # each WebSocket, and each request that waits, takes one\n")
    }

    fn secrets(&self) -> String {
        if self.secrets.is_empty() {
            return "  # secrets: [DATABASE_URL]    # variables that need a value; `devopsctl secrets set` sets it\n"
                .to_owned();
        }
        let entry = |secret: &Secret| match secret.generate {
            true => format!("    - {}: generate   # `devopsctl up` generates it once\n", secret.name),
            false => format!("    - {}\n", secret.name),
        };
        let entries: String = self.secrets.iter().map(entry).collect();
        format!(
            "  # The variables that need a value, which `devopsctl secrets set` sets. Remove those that the app can do without.\n  secrets:\n{entries}"
        )
    }

    fn token(&self) -> String {
        let comment = "# The secret that every request needs. `devopsctl set-token` sets it.\n";
        let body = match &self.token {
            Some((name, _)) => format!(
                "  env: {}\n  # check: app   # the app checks it; an app that does not is refused\n",
                quoted(name)
            ),
            None => "  check: proxy   # devopsctl checks it in front of the app; none: the app is public\n  \
                     # open: [/static/*]   # paths that need no token\n"
                .to_owned(),
        };
        let path = self.token_path.as_ref().map(|path| format!("  path: {}   # where to test that\n", quoted(path)));
        format!("{comment}token:\n{body}{}", path.unwrap_or_default())
    }

    fn instance(&self) -> String {
        let kind = "t3.micro";
        let comment = "# The EC2 instance.\n";
        let image = self.image.name();
        format!("{comment}# instance:\n#   type: {kind}\n#   image: {image}   # by the project's version of Python\n")
    }

    fn health(&self) -> String {
        let comment = "# The health check: a request with the token must return 2xx or 3xx.\n";
        match &self.health {
            Some((path, _)) if path != "/" => format!("{comment}health:\n  path: {}\n", quoted(path)),
            _ => format!("{comment}# health:\n#   path: /\n"),
        }
    }
}

const NETWORK: &str = "\
# The app is served over HTTPS, at its address or at your own domain.
# network:
#   domain: app.example.com
#   allow: [0.0.0.0/0]   # the client addresses to allow
";

/// Without quotes where YAML reads it as a string in any case.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:()-".contains(c));
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || "/_.".contains(c)) && !text.ends_with(':');
    let word = text.contains(['/', '.', ':', '_']) || text.len() > 5;
    let null = ["", "~"].contains(&text);
    if plain && starts && word && !null { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
