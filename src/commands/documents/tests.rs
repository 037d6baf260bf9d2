use std::collections::BTreeMap;
use std::fs;

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// Calls a macro for the document of each verb.
macro_rules! each_verb {
    ($do:ident) => {
        [
            $do!("init", Init),
            $do!("up", Up),
            $do!("plan", Plan),
            $do!("rollback", Rollback),
            $do!("releases", Releases),
            $do!("set-token", SetToken),
            $do!("token", Token),
            $do!("secrets set", SecretsChanged),
            $do!("secrets import", SecretsChanged),
            $do!("secrets list", Secrets),
            $do!("secrets get", Secret),
            $do!("secrets refresh", SecretsChanged),
            $do!("secrets unset", SecretsChanged),
            $do!("status", Status),
            $do!("logs", LogLine),
            $do!("open", Open),
            $do!("cost", Costs),
            $do!("doctor", Doctor),
            $do!("list", List),
            $do!("down", Down),
            $do!("sandbox start", SandboxStart),
            $do!("sandbox stop", SandboxStop),
            $do!("sandbox status", SandboxStatus),
            $do!("sandbox logs", SandboxLogs),
            $do!("an error", Error),
        ]
    };
}

fn documentation(name: &str) -> String {
    format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// After a change: INSTA_UPDATE=always cargo test documents
#[test]
fn the_schema_is_generated() {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    macro_rules! reference {
        ($verb:literal, $kind:ty) => {
            ($verb, generator.subschema_for::<$kind>().to_value())
        };
    }
    let verbs: BTreeMap<&str, Value> = each_verb!(reference).into_iter().collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What devopsctl prints with --json: the document of each verb",
        "type": "object",
        "properties": verbs,
        "$defs": generator.take_definitions(true),
    });
    let (file, text) = (documentation("json.schema.json"), serde_json::to_string_pretty(&schema).unwrap() + "\n");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&file, &text).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap_or_default() == text, "{file} is stale");
}

/// JSON.md has a heading for every verb, with a document that has exactly its fields.
#[test]
fn the_documents_in_json_md_are_valid() {
    fn check<T: DeserializeOwned + Serialize>(verb: &str, text: &str) {
        let shown: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{verb}: {error}"));
        let read: T = serde_json::from_value(shown.clone()).unwrap_or_else(|error| panic!("{verb}: {error}"));
        assert_eq!(serde_json::to_value(read).unwrap(), shown, "{verb}");
    }
    let page = fs::read_to_string(documentation("JSON.md")).unwrap();
    let shown = |verb: &str| {
        let heading = if verb == "an error" { "## An error".to_owned() } else { format!("## `{verb}`") };
        let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading} is missing"));
        let (_, rest) = rest.split_once("```json\n").unwrap_or_default();
        rest.split_once("```").unwrap_or_default().0.to_owned()
    };
    macro_rules! check {
        ($verb:literal, $kind:ty) => {
            check::<$kind>($verb, &shown($verb))
        };
    }
    each_verb!(check);
}

/// A new verb needs a document.
#[test]
fn every_verb_has_a_document() {
    use clap::CommandFactory;

    macro_rules! name {
        ($verb:literal, $kind:ty) => {
            $verb
        };
    }
    let known = each_verb!(name);
    // An IAM policy, a JSON Schema, a shell script, and the instance's output.
    let others = ["policy", "schema", "completions", "run", "ssh"];
    let command = crate::commands::cli::Cli::command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let names = verbs.flat_map(|verb| match verb.get_name() {
        name if verb.has_subcommands() => {
            let visible = verb.get_subcommands().filter(|verb| !verb.is_hide_set());
            visible.map(|below| format!("{name} {}", below.get_name())).collect::<Vec<_>>()
        }
        name => vec![name.to_owned()],
    });
    for name in names.filter(|name| !others.contains(&name.as_str())) {
        assert!(known.contains(&name.as_str()), "{name}");
    }
}
