//! `devopsctl`: parse, run, render the error, exit code.

use std::process::ExitCode;

use devopsctl::{cli, commands};

fn main() -> ExitCode {
    commands::main(cli::parse())
}
