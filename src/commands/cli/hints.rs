//! Suggestions for the verbs and options of other tools. clap itself suggests similar spellings.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::Cli;

/// Verbs of other tools, and ours.
const VERBS: [(&[&str], &str); 17] = [
    (&["apply", "create", "deploy", "launch", "provision", "publish", "push", "ship", "update"], "up"),
    (&["delete", "destroy", "kill", "purge", "remove", "rm", "teardown", "terminate", "undeploy"], "down"),
    (&["credentials", "key", "password", "rotate"], "set-token"),
    (&["secret", "set-secret", "variables"], "secrets"),
    (&["describe", "health", "info", "inspect", "ps", "show", "state"], "status"),
    (&["all", "apps", "deployments", "ls"], "list"),
    (&["console-output", "log", "output", "tail"], "logs"),
    (&["diff", "dry-run", "preview"], "plan"),
    (&["back", "downgrade", "revert", "undo"], "rollback"),
    (&["history", "versions"], "releases"),
    (&["browse", "url", "visit", "web"], "open"),
    (&["bill", "billing", "estimate", "price", "pricing"], "cost"),
    (&["generate", "new", "scaffold", "setup"], "init"),
    (&["iam", "permissions"], "policy"),
    (&["connect", "console", "shell"], "ssh"),
    (&["command", "exec", "manage"], "run"),
    (&["check", "diagnose", "preflight", "test", "validate", "verify"], "doctor"),
];

/// Verbs of other tools below `secrets`, and ours.
const SECRETS: [(&[&str], &str); 6] = [
    (&["add", "create", "put", "replace", "rotate", "update", "write"], "set"),
    (&["bulk", "load", "push", "upload"], "import"),
    (&["all", "ls", "names"], "list"),
    (&["cat", "print", "read", "reveal", "show", "view"], "get"),
    (&["del", "delete", "remove", "rm"], "unset"),
    (&["pull", "reload", "reread", "sync"], "refresh"),
];

/// Verbs of other tools for which there is none here, and what to do instead.
const OTHERWISE: [(&[&str], &str); 3] = [
    (
        &["reboot", "reload", "restart"],
        "no restart is needed: 'up' deploys code and settings, 'set-token' sets the token",
    ),
    (
        &["config", "env", "set", "vars"],
        "settings are app.env in deploy.yaml: change them there, then 'up'; secrets: 'secrets set'",
    ),
    (
        &["auth", "configure", "login"],
        "sign in with the AWS CLI: 'aws login', 'aws sso login' or 'aws configure'; or add '--sandbox'",
    ),
];

/// Options of other tools, and what to do here.
const OPTIONS: [(&[&str], &str); 6] = [
    (&["--auto-approve", "--force", "--no-confirm", "--assume-yes", "--non-interactive"], "that is '--yes' here"),
    (&["--check", "--diff", "--dry-run", "--dryrun", "--preview"], "'plan' shows what 'up' would do"),
    (&["--config", "--config-file", "-c", "-f"], "that is '--file' here"),
    (&["--format", "--output", "-o"], "that is '--json' here"),
    (&["--debug", "--trace"], "that is '--verbose' here"),
    (&["--local", "--localstack", "--offline"], "that is '--sandbox' here"),
];

/// Parses the command line. Help, version and usage errors are printed and end the program.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| hinted(error).exit())
}

/// Adds a tip for the words of other tools.
fn hinted(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::TooManyValues {
        // The value may be a secret: `secrets set NAME --stdin=…`.
        error.insert(ContextKind::InvalidValue, ContextValue::String("...".to_owned()));
    }
    let (said, alike) = match error.kind() {
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        _ => return error,
    };
    let Some(ContextValue::String(word)) = error.get(said) else { return error };
    if let Some(tip) = tip(word, verb(&error).as_deref()) {
        error.remove(alike);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The verb above an unknown one, such as `secrets`.
fn verb(error: &clap::Error) -> Option<String> {
    let ContextValue::StyledStr(usage) = error.get(ContextKind::Usage)? else { return None };
    let usage = usage.to_string();
    let (verb, rest) = usage.split_once("devopsctl ")?.1.split_once(' ')?;
    let above = error.kind() == ErrorKind::InvalidSubcommand && rest.contains("<COMMAND>") && !verb.starts_with('[');
    above.then(|| verb.to_owned())
}

/// `above`: the verb before the word, where the word is one of its own verbs. There, words of other tools mean something else.
fn tip(word: &str, above: Option<&str>) -> Option<String> {
    let has = |words: &[&str]| words.contains(&word);
    if let Some(above) = above {
        let (_, verb) = SECRETS.iter().find(|(words, _)| above == "secrets" && has(words))?;
        return Some(format!("that is '{above} {verb}' here"));
    }
    let verb = VERBS.iter().find(|(words, _)| has(words));
    let tip = OTHERWISE.iter().chain(&OPTIONS).find(|(words, _)| has(words));
    verb.map(|(_, verb)| format!("that is '{verb}' here: {}", about(verb))).or(tip.map(|(_, tip)| (*tip).to_owned()))
}

fn about(verb: &str) -> String {
    let command = Cli::command();
    let about = command.find_subcommand(verb).and_then(clap::Command::get_about).map(ToString::to_string);
    let mut letters = about.unwrap_or_default();
    if let Some(first) = letters.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suggested_verb_exists_and_no_word_is_a_verb() {
        let command = Cli::command();
        for (words, verb) in VERBS {
            assert!(command.find_subcommand(verb).is_some(), "{verb}");
            assert!(about(verb).starts_with(|first: char| first.is_lowercase()), "{}", about(verb));
            for word in words {
                assert!(command.find_subcommand(word).is_none(), "{word} is a verb");
            }
        }
        let secrets = command.find_subcommand("secrets").unwrap();
        for (words, verb) in SECRETS {
            assert!(secrets.find_subcommand(verb).is_some(), "{verb}");
            assert!(words.iter().all(|word| secrets.find_subcommand(word).is_none()), "{words:?}");
        }
        let all: Vec<&str> =
            VERBS.iter().chain(&OTHERWISE).chain(&OPTIONS).flat_map(|(words, _)| *words).copied().collect();
        for (place, word) in all.iter().enumerate() {
            assert!(!all[..place].contains(word), "{word} is listed twice");
        }
    }

    #[test]
    fn a_word_below_another_verb_is_not_taken_for_a_verb() {
        for line in ["sandbox destroy", "secrets destroy"] {
            let words = ["devopsctl"].into_iter().chain(line.split_whitespace());
            let said = hinted(Cli::try_parse_from(words).unwrap_err()).to_string();
            assert!(!said.contains("'down'"), "{line}: {said}");
        }
    }

    #[test]
    fn the_value_of_an_option_without_one_is_not_shown() {
        let words = ["devopsctl", "secrets", "set", "A", "--stdin=the-secret-value"];
        let said = hinted(Cli::try_parse_from(words).unwrap_err()).to_string();
        assert!(said.contains("--stdin") && !said.contains("the-secret-value"), "{said}");
    }

    #[test]
    fn words_of_other_tools_get_a_tip() {
        for (line, tip) in [
            ("secrets delete A", "tip: that is 'secrets unset' here"),
            ("secrets add A", "tip: that is 'secrets set' here"),
            ("deploy", "tip: that is 'up' here: create or update everything"),
            ("destroy", "tip: that is 'down' here: delete all resources"),
            ("password", "tip: that is 'set-token' here"),
            ("secret", "tip: that is 'secrets' here"),
            ("restart", "tip: no restart is needed"),
            ("up --dry-run", "tip: 'plan' shows what 'up' would do"),
            ("down --auto-approve", "tip: that is '--yes' here"),
            ("status --output json", "tip: that is '--json' here"),
        ] {
            let words = ["devopsctl"].into_iter().chain(line.split_whitespace());
            let said = hinted(Cli::try_parse_from(words).unwrap_err()).to_string();
            assert!(said.contains(tip) && said.matches("tip:").count() == 1, "{line}: {said}");
        }
    }
}
