use clap::CommandFactory;

use super::Cli;

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

/// A copied example must parse, and as the verb that shows it.
#[test]
fn every_verb_has_examples_and_each_parses() {
    for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> = help.lines().filter_map(|line| line.trim().split("devopsctl ").nth(1)).collect();
        assert!((1..=3).contains(&lines.len()), "{}: {help}", verb.get_name());
        for line in lines {
            let typed = line.split("  ").next().unwrap().split(['|', '>', ')']).next().unwrap();
            let words = typed.split_whitespace();
            let taken = Cli::command().try_get_matches_from(["devopsctl"].into_iter().chain(words));
            let taken = taken.unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(taken.subcommand_name(), Some(verb.get_name()), "{line}");
        }
    }
}

#[test]
fn a_misspelt_word_gets_a_suggestion() {
    for (line, meant) in [
        ("stauts", "'status'"),
        ("dwon", "'down'"),
        ("lst", "'list'"),
        ("up --sandbx", "'--sandbox'"),
        ("set-token --genrate", "'--generate'"),
        ("completions fsh", "'fish'"),
        ("sandbox strat", "'start'"),
    ] {
        let words = line.split_whitespace();
        let error = Cli::command().try_get_matches_from(["devopsctl"].into_iter().chain(words)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("tip:") && said.contains(meant), "{line}: {said}");
    }
}
