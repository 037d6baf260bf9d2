//! `devopsctl`: parse, run, render the error, exit code.

use std::process::ExitCode;

use clap::Parser;
use devopsctl::{cli::Cli, commands};

fn main() -> ExitCode {
    commands::main(Cli::parse())
}
