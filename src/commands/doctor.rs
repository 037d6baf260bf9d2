//! `doctor`: would `up` work here, and if not, why, and what next? Everything is looked at at once; nothing is changed.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{connect, elsewhere, file, plan, show};
use crate::aws::{self, Aws, Settings};
use crate::cli::{Globals, command};
use crate::config::{self, Deployment};
use crate::doctor::{Check, State, account, exit, local, permissions};
use crate::engine::interrupt::Interrupt;
use crate::error::Result;
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui) -> Result<ExitCode> {
    let interrupt = Interrupt::listen(&ui);
    let (path, read) = match file(&globals) {
        Ok(path) => (Some(path.clone()), config::load(&path)),
        Err(failure) => (None, Err(failure)),
    };
    if let Err(failure) = &read
        && !failure.findings_in_file().is_empty()
    {
        show(failure);
    }
    let (uv, cloud) = tokio::join!(local::uv(), cloud(&globals, &ui, &interrupt, read.as_ref().ok()));
    let (cloud, fits) = cloud?;
    let mut checks = vec![local::file(path.as_deref(), &read, fits)];
    if let Ok(deployment) = &read {
        checks.push(local::app(&deployment.app).unwrap_or_else(|failure| Check::failed("app", &failure)));
    }
    checks.push(uv);
    checks.extend(cloud);
    say(&globals, &ui, &checks);
    Ok(exit(&checks).map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8)))
}

/// What the account says, and whether the deployment can be there. Without a `deploy.yaml`, one is asked about that is as
/// all are by default.
async fn cloud(
    globals: &Globals,
    ui: &Ui,
    interrupt: &Interrupt,
    read: Option<&Deployment>,
) -> Result<(Vec<Check>, Result<()>)> {
    let default = config::named("app")?;
    let mut deployment = read.unwrap_or(&default).clone();
    let region = deployment.region.clone();
    let mut checks = Vec::new();
    let mut globals = globals.clone();
    if !globals.sandbox {
        let settings = Settings { region: globals.region.clone().or(region.clone()), profile: globals.profile.clone() };
        if let Err(failure) = aws::region(&settings).await {
            checks.push(Check::failed("region", &failure));
            // Any will do to learn who asks.
            globals.region = Some("us-east-1".to_owned());
        }
    }
    let aws = match connect(&globals, ui, interrupt, region.as_ref()).await {
        Ok(aws) => aws,
        Err(failure) => {
            let Some(check) = account::without(&failure) else { return Err(failure) };
            checks.insert(0, check);
            return Ok((checks, Ok(())));
        }
    };
    if !checks.is_empty() {
        let who = account::who(&aws).await;
        checks.insert(0, who);
        return Ok((checks, Ok(())));
    }
    deployment.network.https &= aws.has_authority(&deployment.network);
    let fits = aws.can_boot(&deployment.instance).and_then(|()| plan::certifiable(&deployment.network));
    Ok((interrupt.or(examined(&aws, &deployment)).await?, fits))
}

/// Two rounds: the second needs the account's number, the image and the network.
async fn examined(aws: &Aws, deployment: &Deployment) -> Result<Vec<Check>> {
    let machine = aws.machine(&deployment.instance);
    let (seen, reads) =
        tokio::join!(account::look(aws, deployment, &machine), permissions::read(aws, &deployment.name));
    let mut checks = seen.judge(aws, deployment, &machine);
    if let Ok(identity) = &seen.identity
        && seen.answers()
    {
        let image = seen.image.as_ref().ok().map(|image| image.id.as_str());
        let launch = permissions::Launch { image, network: seen.has_network(), vpc: seen.vpc() };
        let asked = permissions::look(aws, deployment, &identity.account, reads, launch).await;
        checks.extend(asked.judge());
    }
    Ok(checks)
}

fn say(globals: &Globals, ui: &Ui, checks: &[Check]) {
    if globals.json {
        ui.result(&to_json(checks).to_string());
        return;
    }
    let width = width();
    let column = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or_default();
    for check in checks {
        let first = format!("{} {:column$}  ", sign(check.state), check.what);
        lines(&first, &check.seen, width).iter().for_each(|line| ui.result(line));
        if let Some(next) = &check.next {
            lines("  next: ", next, width).iter().for_each(|line| ui.result(line));
        }
    }
    ui.result("");
    ui.result(&sum(globals, checks));
}

fn sum(globals: &Globals, checks: &[Check]) -> String {
    match checks.iter().filter(|check| check.is_failed()).count() {
        0 => {
            let sandbox = if globals.sandbox { " --sandbox" } else { "" };
            let file = globals.file.as_ref().map(|file| format!(" --file {}", file.display())).unwrap_or_default();
            let place = elsewhere(globals.region.as_deref(), globals.profile.as_deref());
            format!("ready: {}", command(&format!("up{sandbox}{file}{place}")))
        }
        1 => "1 thing stands in the way".to_owned(),
        many => format!("{many} things stand in the way"),
    }
}

fn sign(state: State) -> char {
    match state {
        State::Pass => '✓',
        State::Warn => '!',
        State::Fail(_) => '✗',
    }
}

fn to_json(checks: &[Check]) -> Value {
    let state = |check: &Check| match check.state {
        State::Pass => "pass",
        State::Warn => "warn",
        State::Fail(_) => "fail",
    };
    let one =
        |check: &Check| json!({"what": check.what, "state": state(check), "seen": check.seen, "next": check.next});
    let ready = !checks.iter().any(Check::is_failed);
    json!({"v": 1, "ready": ready, "checks": checks.iter().map(one).collect::<Vec<_>>()})
}

/// How wide a terminal is; elsewhere a line is a line.
fn width() -> usize {
    let terminal = console::Term::stdout();
    if terminal.is_term() { usize::from(terminal.size().1).max(40) } else { usize::MAX }
}

/// The text after `first`, on as many lines as it takes, each below the other.
fn lines(first: &str, text: &str, width: usize) -> Vec<String> {
    let indent = first.chars().count();
    let (mut lines, mut line) = (Vec::new(), first.to_owned());
    let mut used = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > indent && used + 1 + length > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
        } else if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_where_it_began() {
        let shown = lines("✗ app  ", "no module shop.wsgi is there", 20);
        assert_eq!(shown, ["✗ app  no module", "       shop.wsgi is", "       there"]);
        assert_eq!(lines("✗ app  ", "a b", usize::MAX), ["✗ app  a b"]);
    }
}
