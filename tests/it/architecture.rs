//! The layers of `src/lib.rs` hold: each uses only those above it in the list, and no files use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::support::files::rust_code;

/// Each layer and what it may use. What is only compiled for tests may use anything.
const LAYERS: [(&str, &[&str]); 9] = [
    ("base", &[]),
    ("config", &["base"]),
    ("sandbox", &["base", "config"]),
    ("aws", &["base", "config", "sandbox"]),
    ("release", &["base", "config", "aws"]),
    ("resources", &["base", "config", "aws", "release"]),
    ("engine", &["base", "config", "aws", "release", "resources"]),
    ("ui", &["base"]),
    ("commands", &["base", "config", "sandbox", "aws", "release", "resources", "engine", "ui"]),
];

/// Those that speak to AWS: no other layer uses a type of the SDK.
const SDK: [&str; 2] = ["aws", "resources"];

/// A kind of resource reads what stands of other kinds, and the list of kinds names them all: these files are one.
const KINDS: &str = "resources";

/// The name of a module, from the root of the crate.
type Module = Vec<String>;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of the crate, each with its code; tests aside.
fn modules() -> BTreeMap<Module, String> {
    let named = rust_code("src").into_iter().map(|(path, code)| {
        let name = path.strip_prefix(src()).unwrap().with_extension("");
        let parts = name.iter().map(|part| part.to_str().unwrap().to_owned());
        (parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect::<Module>(), code)
    });
    named.filter(|(module, _)| !module.iter().any(|part| part == "tests")).collect()
}

/// The paths of a module's code that begin with `crate` or `super`, from the root of the crate; in braces, too.
fn paths(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for begin in ["crate::", "super::"] {
        for (place, _) in code.match_indices(begin) {
            let inner = code[..place].chars().last().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
            if !inner {
                tree(&code[place..], &mut Vec::new(), &mut found);
            }
        }
    }
    let absolute = |path: Module| {
        let up = path.iter().take_while(|part| *part == "super").count();
        let root = if up == 0 { &[][..] } else { &module[..module.len().saturating_sub(up)] };
        root.iter().cloned().chain(path.into_iter().filter(|part| part != "super" && part != "crate")).collect()
    };
    found.into_iter().map(absolute).collect()
}

/// Reads one path, or one in braces; what is left of the text.
fn tree<'a>(text: &'a str, before: &mut Module, found: &mut Vec<Module>) -> &'a str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if let Some(mut list) = rest.trim_start().strip_prefix('{').filter(|_| name.is_empty()) {
        loop {
            list = tree(list.trim_start(), before, found).trim_start();
            match list.strip_prefix(',') {
                Some(more) => list = more,
                None => return list.strip_prefix('}').unwrap_or_default(),
            }
        }
    }
    before.push(name.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(more) => tree(more, before, found),
        None => {
            found.push(before.clone());
            // `as another`, which ends where the list goes on.
            rest.strip_prefix(" as ")
                .map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
        }
    };
    before.pop();
    rest
}

#[test]
fn paths_are_read_from_the_root_of_the_crate() {
    let code =
        "use super::plan::{self, Step as S};\nuse crate::{config, ui::{Ui, table}};\nfn f() { crate::aws::call() }";
    let module = ["engine", "execute"].map(str::to_owned).to_vec();
    let found: Vec<String> = paths(&module, code).iter().map(|path| path.join("::")).collect();
    let expected = ["config", "ui::Ui", "ui::table", "aws::call", "engine::plan::self", "engine::plan::Step"];
    assert_eq!(found, expected);
}

#[test]
fn no_layer_uses_one_below_it() {
    let layers: BTreeMap<_, _> = LAYERS.into();
    let mut entries: Vec<_> = fs::read_dir(src()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.retain(|name| name != "lib.rs" && name != "main.rs");
    entries.sort();
    assert_eq!(entries, layers.keys().copied().collect::<Vec<_>>(), "what lies in src/ is not what the list has");
    let mut wrong = Vec::new();
    for (module, code) in modules().iter().filter(|(module, _)| !module.is_empty()) {
        let layer = module[0].as_str();
        let upward = |path: &Module| path[0] != layer && !layers[layer].contains(&path[0].as_str());
        wrong.extend(paths(module, code).into_iter().filter(upward).map(|path| format!("{module:?}: {path:?}")));
    }
    assert_eq!(wrong, [""; 0], "these use a layer that they must not use");
}

#[test]
fn the_types_of_the_sdk_stay_where_aws_is_spoken_to() {
    let modules = modules();
    let elsewhere =
        modules.iter().filter(|(module, _)| module.first().is_some_and(|layer| !SDK.contains(&layer.as_str())));
    let wrong: Vec<_> = elsewhere.filter(|(_, code)| code.contains("aws_sdk_")).map(|(module, _)| module).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A module and those within it are one file and its parts, so they may use each other.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let modules = modules();
    let known =
        |path: &Module| (1..=path.len()).rev().map(|end| path[..end].to_vec()).find(|path| modules.contains_key(path));
    let uses = |module: &Module| -> BTreeSet<Module> {
        let all = paths(module, &modules[module]).into_iter().filter_map(|path| known(&path));
        let within = |other: &Module| other.starts_with(module) || module.starts_with(other);
        let kinds = |other: &Module| module[0] == KINDS && other[0] == KINDS;
        all.filter(|other| !within(other) && !kinds(other)).collect()
    };
    let mut left: BTreeMap<Module, BTreeSet<Module>> =
        modules.keys().filter(|module| !module.is_empty()).map(|module| (module.clone(), uses(module))).collect();
    // What uses nothing that is left is in no circle.
    while let Some(free) = left.iter().find(|(_, uses)| !uses.iter().any(|used| left.contains_key(used))) {
        let free = free.0.clone();
        left.remove(&free);
    }
    assert!(
        left.is_empty(),
        "these use each other, or what does: {:?}",
        left.keys().map(|module| module.join("::")).collect::<Vec<_>>()
    );
}
