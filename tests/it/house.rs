//! The rooms of `src/lib.rs`: each knows only those above it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::files::rust_code;

/// Each room and what it may know of. What is only compiled for tests may know of anything.
const ROOMS: [(&str, &[&str]); 9] = [
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

/// The crates that speak to AWS: no type of theirs is known elsewhere.
const SDK: &str = "aws_sdk_";

/// The first names of the paths that begin with `crate::`, those in braces among them.
fn known(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let name =
            |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
        let Some(list) = rest.strip_prefix('{') else {
            found.push(name(rest));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in list.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push(name(std::mem::take(&mut item).trim())),
                _ => {}
            }
            if c != ',' || depth > 0 {
                item.push(c);
            }
        }
        found.push(name(item.trim()));
    }
    found
}

#[test]
fn the_first_names_of_paths_are_found() {
    let code =
        "use crate::base::names;\nuse crate::{config, engine::{plan, execute}, ui};\nfn f() { crate::aws::call() }";
    assert_eq!(known(code), ["base", "config", "engine", "ui", "aws"]);
}

#[test]
fn no_room_knows_of_one_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeMap<_, _> = ROOMS.into();
    let mut entries: Vec<_> = fs::read_dir(&src).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.retain(|name| name != "lib.rs" && name != "main.rs");
    entries.sort();
    assert_eq!(entries, rooms.keys().copied().collect::<Vec<_>>(), "what lies in src/ is not what the list has");
    let mut wrong = Vec::new();
    for (room, may) in rooms {
        let files = rust_code(&format!("src/{room}"));
        assert!(!files.is_empty());
        for (path, code) in files {
            let arrows = known(&code).into_iter().filter(|name| name != room && !may.contains(&name.as_str()));
            wrong.extend(arrows.map(|name| format!("{}: {name}", path.strip_prefix(&src).unwrap().display())));
        }
    }
    assert_eq!(wrong, [""; 0], "these know of a room that they must not know of");
}

#[test]
fn the_types_of_the_sdk_stay_where_aws_is_spoken_to() {
    let elsewhere =
        ["base", "config", "sandbox", "release", "engine", "ui"].map(|room| rust_code(&format!("src/{room}"))).concat();
    let wrong: Vec<_> = elsewhere.iter().filter(|(_, code)| code.contains(SDK)).map(|(path, _)| path).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
