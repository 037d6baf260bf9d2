//! `sandbox …`: the local AWS itself.

use std::process::ExitCode;

use crate::cli::{Globals, SandboxVerb};
use crate::error::{Exit, Failure, Result};
use crate::sandbox;
use crate::ui::Ui;

pub(super) async fn run(verb: SandboxVerb, globals: &Globals, ui: &Ui) -> Result<ExitCode> {
    match verb {
        SandboxVerb::Start { port } => {
            let options = sandbox::Options { port, machines: globals.machine, ..sandbox::Options::default() };
            let handle = sandbox::ensure(&options, &|line| ui.say(line)).await?;
            ui.result(&handle.endpoint);
            Ok(ExitCode::SUCCESS)
        }
        SandboxVerb::Stop => {
            let stopped = sandbox::stop().await?;
            ui.say(if stopped { "the sandbox has ended; what it held is gone" } else { "no sandbox runs" });
            Ok(ExitCode::SUCCESS)
        }
        SandboxVerb::Status => status(globals, ui).await,
        SandboxVerb::Logs => logs(ui),
        SandboxVerb::Serve(arguments) => sandbox::serve(arguments).await.map(|()| ExitCode::SUCCESS),
        // Dealt with before there is a runtime.
        SandboxVerb::Guard(_) | SandboxVerb::Join(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn status(globals: &Globals, ui: &Ui) -> Result<ExitCode> {
    let Some(status) = sandbox::status().await? else {
        ui.result(if globals.json { "null" } else { "no sandbox runs" });
        return Ok(ExitCode::from(Exit::Failed as u8));
    };
    if globals.json {
        let text = serde_json::to_string(&status).map_err(|error| Failure::bug(error.to_string()))?;
        ui.result(&text);
        return Ok(ExitCode::SUCCESS);
    }
    ui.result(&format!("endpoint   {}", status.endpoint));
    ui.result(&format!("process    {}", status.pid));
    ui.result(&format!(
        "ends in    {} unless it is used",
        indicatif::HumanDuration(std::time::Duration::from_secs(status.ends_in))
    ));
    for machine in status.instances {
        let ip = machine.public_ip.map_or_else(|| "no public address".to_owned(), |ip| ip.to_string());
        ui.result(&format!(
            "instance   {} in {}: {}, {ip}, {}",
            machine.id,
            machine.region,
            machine.state,
            machine.folder.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The last lines of each file, under its name.
fn logs(ui: &Ui) -> Result<ExitCode> {
    for file in sandbox::log_files()? {
        ui.result(&format!("==> {} <==", file.display()));
        let bytes = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(30)) {
            ui.result(line);
        }
    }
    Ok(ExitCode::SUCCESS)
}
