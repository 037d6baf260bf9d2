//! `doctor`: would `up` work here, and if not, why, and what next? Everything is looked at at once; nothing is changed.

use std::process::ExitCode;

use crate::aws::{self, Aws, Settings};
use crate::base::error::{Failure, Result, command};
use crate::base::interrupt::Interrupt;
use crate::commands::cli::Globals;
use crate::commands::doctor::load::{Loaded, load};
use crate::commands::doctor::{Check, State, account, exit, local, permissions, who};
use crate::commands::{connect, documents, elsewhere, file, load as read_file, plan, show};
use crate::config::{self, Deployment};
use crate::ui::Ui;

pub(in crate::commands) async fn run(globals: Globals, ui: Ui) -> Result<ExitCode> {
    let interrupt = Interrupt::listen(ui.sink());
    ui.wait("looking at everything that up needs");
    let (path, read) = match file(&globals) {
        Ok(path) => (Some(path.clone()), read_file(&globals, &path)),
        Err(failure) => (None, Err(failure)),
    };
    if let Err(failure) = &read
        && !failure.findings_in_file().is_empty()
    {
        show(failure);
    }
    let loading = async {
        match &read {
            Ok(deployment) => load(deployment).await,
            Err(_) => Loaded::NotTried,
        }
    };
    let (uv, loaded, cloud) = tokio::join!(local::uv(), loading, cloud(&globals, &ui, &interrupt, read.as_ref().ok()));
    let (cloud, fits) = cloud?;
    let mut checks = vec![local::file(path.as_deref(), &read, &fits)];
    if let Ok(deployment) = &read {
        checks.push(local::app(deployment, &loaded).unwrap_or_else(|failure| Check::failed("app", &failure)));
    }
    checks.push(uv);
    checks.extend(cloud);
    if globals.json {
        ui.document(&document(&checks, read.as_ref().err()));
    } else {
        say(&globals, &ui, &checks);
    }
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
            let Some(check) = who::without(&failure) else { return Err(failure) };
            checks.insert(0, check);
            return Ok((checks, Ok(())));
        }
    };
    if !checks.is_empty() {
        checks.insert(0, who::known(&aws).await);
        return Ok((checks, Ok(())));
    }
    deployment.network.https &= aws.has_authority(&deployment.network);
    let fits = aws.can_boot(&deployment.instance).and_then(|()| plan::certifiable(&deployment.network));
    Ok((interrupt.or(Box::pin(examined(&aws, &deployment))).await?, fits))
}

/// Two rounds: the second needs the account's number, the image and the network.
async fn examined(aws: &Aws, deployment: &Deployment) -> Result<Vec<Check>> {
    let machine = aws.machine(&deployment.instance);
    let reads = async { Ok(permissions::read(aws, &deployment.name).await) };
    let (seen, reads) = match tokio::try_join!(account::look(aws, deployment, &machine), reads) {
        Ok(both) => both,
        Err(failure) => return Ok(vec![who::unknown(&failure)]),
    };
    let mut checks = seen.judge(aws, deployment, &machine);
    if seen.answers() {
        let launch = permissions::Launch {
            image: seen.image.as_ref().ok(),
            credits: seen.credits(deployment),
            network: seen.has_network(),
            vpc: seen.vpc(),
        };
        let asked = permissions::look(aws, deployment, seen.account(), reads, launch).await;
        checks.extend(asked.judge());
    }
    Ok(checks)
}

fn say(globals: &Globals, ui: &Ui, checks: &[Check]) {
    let column = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or_default();
    for check in checks {
        ui.entry(&format!("{} {:column$}  ", sign(check.state), check.what), &check.seen);
        if let Some(next) = &check.next {
            ui.entry("  next: ", next);
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

fn document(checks: &[Check], failure: Option<&Failure>) -> documents::Doctor {
    let state = |check: &Check| match check.state {
        State::Pass => "pass",
        State::Warn => "warn",
        State::Fail(_) => "fail",
    };
    let checked = |check: &Check| documents::Checked {
        what: check.what.to_owned(),
        state: state(check).to_owned(),
        seen: check.seen.clone(),
        next: check.next.clone(),
    };
    documents::Doctor {
        v: documents::Version,
        ready: !checks.iter().any(Check::is_failed),
        checks: checks.iter().map(checked).collect(),
        findings: failure
            .map(Failure::findings_in_file)
            .unwrap_or_default()
            .iter()
            .map(documents::Finding::from)
            .collect(),
    }
}
