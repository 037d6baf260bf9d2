//! `devopsctl`: parse, run, render the error, exit code.

use std::process::ExitCode;

use devopsctl::commands::{self, cli};

fn main() -> ExitCode {
    commands::main(cli::parse())
}
