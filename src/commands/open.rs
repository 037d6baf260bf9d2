//! `open`: opens the app's URL in the browser. Without a terminal or a display, it only prints the URL.

use std::io::IsTerminal;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use super::Session;
use crate::base::child;
use crate::base::error::Result;
use crate::commands::documents;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let url = session.interrupt.or(url(session)).await?;
    if session.globals.json {
        session.ui.document(&documents::Open { v: documents::Version, name: session.name().to_owned(), url });
        return Ok(ExitCode::SUCCESS);
    }
    session.ui.result(&url);
    // A script needs the URL, not a window.
    if std::io::stdout().is_terminal() {
        session.ui.say(match show(&url).await {
            Ok(()) => "opened in the browser; the app requires the token, which a browser does not send".to_owned(),
            Err(why) => format!("cannot open a browser: {why}"),
        });
    }
    Ok(ExitCode::SUCCESS)
}

async fn url(session: &Session) -> Result<String> {
    let observed = session.running().await?;
    let ip = session.ip_of(session.serving(&observed)?, &observed)?;
    session.aws.url(ip, &session.deployment.network).await
}

/// Runs the system's own opener. After a second without failure it counts as started.
async fn show(url: &str) -> Result<(), String> {
    if !display(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Err("there is no display".to_owned());
    }
    let mut why = "there is no program to open one with".to_owned();
    for opener in open::commands(url) {
        let mut opener = child::on_screen(opener);
        opener.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let Ok(mut opener) = opener.spawn() else { continue };
        match tokio::time::timeout(Duration::from_secs(1), opener.wait()).await {
            Ok(Ok(status)) if !status.success() => why = "the system's opener failed".to_owned(),
            _ => return Ok(()),
        }
    }
    Err(why)
}

/// Whether there is a display: on Linux X11, Wayland or, under WSL, Windows.
fn display(is_set: impl Fn(&str) -> bool) -> bool {
    let screens = ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"];
    !cfg!(target_os = "linux") || screens.into_iter().any(is_set)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_display_is_x11_wayland_or_windows() {
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"] {
            assert!(super::display(|asked| asked == name), "{name}");
        }
        assert!(!super::display(|_| false));
    }
}
