//! `sandbox …`: manages the local AWS.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::error::{Exit, Result};
use crate::commands::cli::{Globals, SandboxVerb};
use crate::commands::documents::{self, LogFile};
use crate::resources::policy::Scope;
use crate::sandbox::{self, Machine};
use crate::ui::Ui;

/// How many lines of each log are shown.
const LAST: usize = 30;

pub(super) async fn run(verb: SandboxVerb, globals: &Globals, ui: &Ui) -> Result<ExitCode> {
    let v = documents::Version;
    match verb {
        SandboxVerb::Start { port } => {
            let options = sandbox::Options { port, machines: globals.machine, ..sandbox::Options::default() };
            let handle = sandbox::ensure(&options, &|line| ui.say(line)).await?;
            match globals.json {
                true => ui.document(&documents::SandboxStart { v, endpoint: handle.endpoint }),
                false => ui.result(&handle.endpoint),
            }
            Ok(ExitCode::SUCCESS)
        }
        SandboxVerb::Stop => {
            let stopped = sandbox::stop().await?;
            if globals.json {
                ui.document(&documents::SandboxStop { v, stopped });
            }
            ui.say(if stopped { "stopped the sandbox and deleted its content" } else { "no sandbox is running" });
            Ok(ExitCode::SUCCESS)
        }
        SandboxVerb::Status => status(globals, ui).await,
        SandboxVerb::Logs => logs(globals, ui),
        SandboxVerb::Serve(arguments) => {
            let scope = Scope { account: Some(sandbox::ACCOUNT.to_owned()), ..Scope::default() };
            sandbox::serve(arguments, &scope.policy().to_string()).await.map(|()| ExitCode::SUCCESS)
        }
        // Handled before the runtime is started.
        SandboxVerb::Supervise(_) | SandboxVerb::Join(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn status(globals: &Globals, ui: &Ui) -> Result<ExitCode> {
    let sandbox = sandbox::status().await?;
    let code = if sandbox.is_some() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) };
    if globals.json {
        ui.document(&documents::SandboxStatus { v: documents::Version, sandbox });
        return Ok(code);
    }
    let Some(status) = sandbox else {
        ui.result("no sandbox is running");
        ui.say(format!("start one: {}, or run any verb with --sandbox", ui.run_bare("sandbox start")));
        return Ok(code);
    };
    ui.pair("endpoint", &status.endpoint);
    ui.pair("process", &status.pid.to_string());
    let left = indicatif::HumanDuration(std::time::Duration::from_secs(status.ends_in));
    ui.pair("stops in", &format!("{left} unless it is used"));
    for Machine { id, region, state, public_ip, folder } in status.instances {
        let ip = public_ip.map_or_else(|| "no public address".to_owned(), |ip| ip.to_string());
        ui.pair("instance", &format!("{id} in {region}: {state}, {ip}, {}", folder.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the last lines of each file, below its path.
fn logs(globals: &Globals, ui: &Ui) -> Result<ExitCode> {
    let last = |file: PathBuf| {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let lines = lines.iter().skip(lines.len().saturating_sub(LAST));
        LogFile { file, lines: lines.map(ToString::to_string).collect() }
    };
    let files: Vec<LogFile> = sandbox::log_files()?.into_iter().map(last).collect();
    if globals.json {
        ui.document(&documents::SandboxLogs { v: documents::Version, files });
        return Ok(ExitCode::SUCCESS);
    }
    for LogFile { file, lines } in files {
        ui.result(&format!("==> {} <==", file.display()));
        lines.iter().for_each(|line| ui.result(line));
    }
    Ok(ExitCode::SUCCESS)
}
