//! Runs the checks concurrently and prints them.

use std::process::ExitCode;

use crate::aws::{self, Aws, Settings};
use crate::base::error::{Failure, Result};
use crate::base::interrupt::Interrupt;
use crate::commands::cli::Globals;
use crate::commands::doctor::import_check::{Import, import};
use crate::commands::doctor::{Check, State, account, exit, identity, local, permissions, secrets};
use crate::commands::{connect, documents, file, load, plan, show};
use crate::config::{self, Deployment};
use crate::resources::preflight::Launch;
use crate::ui::Ui;

pub(in crate::commands) async fn run(globals: Globals, ui: Ui) -> Result<ExitCode> {
    let interrupt = Interrupt::listen(ui.sink());
    ui.wait("checking everything that up needs");
    let (path, read) = match file(&globals) {
        Ok(path) => (Some(path.clone()), load(&globals, &path)),
        Err(failure) => (None, Err(failure)),
    };
    if let Err(failure) = &read
        && !failure.findings_in_file().is_empty()
    {
        show(failure);
    }
    let importing = async {
        match &read {
            Ok(deployment) => import(deployment).await,
            Err(_) => Import::NotTried,
        }
    };
    let (uv, imported, cloud) =
        tokio::join!(local::uv(), importing, cloud(&globals, &ui, &interrupt, read.as_ref().ok()));
    let (cloud, fits) = cloud?;
    let mut checks = vec![local::file(path.as_deref(), &read, &fits)];
    if let Ok(deployment) = &read {
        checks.push(local::app(deployment, &imported).unwrap_or_else(|failure| Check::failed("app", &failure)));
    }
    checks.push(uv);
    checks.extend(cloud);
    if globals.json {
        ui.document(&document(&ui, &checks, read.as_ref().err()));
    } else {
        print(&ui, &checks);
    }
    Ok(exit(&checks).map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8)))
}

/// The checks of the account, and whether the deployment fits there. Without a `deploy.yaml`, a deployment with all defaults
/// is checked.
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
            // Any region can identify the caller.
            globals.region = Some("us-east-1".to_owned());
        }
    }
    let aws = match connect(&globals, ui, interrupt, region.as_ref()).await {
        Ok(aws) => aws,
        Err(failure) => {
            let Some(check) = identity::without(&failure) else { return Err(failure) };
            checks.insert(0, check);
            return Ok((checks, Ok(())));
        }
    };
    if !checks.is_empty() {
        checks.insert(0, identity::check(&aws).await);
        return Ok((checks, Ok(())));
    }
    deployment.network.https &= aws.has_authority(&deployment.network);
    let fits = aws.can_boot(&deployment.instance).and_then(|()| plan::certifiable(&deployment.network));
    Ok((interrupt.or(Box::pin(examined(&aws, &deployment))).await?, fits))
}

/// Two rounds: the second one needs the account's id, the image and the network.
async fn examined(aws: &Aws, deployment: &Deployment) -> Result<Vec<Check>> {
    let machine = aws.machine(&deployment.instance);
    let reads = async { Ok(permissions::read(aws, &deployment.name).await) };
    let referred = async { Ok(secrets::observe(aws, deployment).await) };
    let (seen, reads, referred) = match tokio::try_join!(account::observe(aws, deployment, &machine), reads, referred) {
        Ok(both) => both,
        Err(failure) => return Ok(vec![identity::unknown(&failure)]),
    };
    let mut checks = seen.judge(aws, deployment, &machine);
    checks.extend(secrets::judge(deployment, reads.secrets.as_ref()));
    checks.extend(referred);
    if seen.answers() {
        let launch = Launch {
            image: seen.image.as_ref().ok(),
            credits: seen.credits(deployment),
            network: seen.has_network(),
            vpc: seen.vpc(),
            group: reads.group.as_deref(),
            key_pair: reads.key_pair,
        };
        let asked = permissions::observe(aws, deployment, seen.account(), &launch, reads.answers).await;
        checks.extend(asked.judge());
    }
    Ok(checks)
}

fn print(ui: &Ui, checks: &[Check]) {
    let column = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or_default();
    for check in checks {
        ui.entry(&format!("{} {:column$}  ", sign(check.state), check.what), &check.seen);
        if let Some(next) = &check.next {
            ui.entry("  next: ", &ui.next(next));
        }
    }
    ui.result("");
    ui.result(&summary(ui, checks));
}

fn summary(ui: &Ui, checks: &[Check]) -> String {
    match checks.iter().filter(|check| check.is_failed()).count() {
        0 => format!("ready: {}", ui.run("up")),
        1 => "1 check failed".to_owned(),
        many => format!("{many} checks failed"),
    }
}

fn sign(state: State) -> char {
    match state {
        State::Pass => '✓',
        State::Warn => '!',
        State::Fail(_) => '✗',
    }
}

fn document(ui: &Ui, checks: &[Check], failure: Option<&Failure>) -> documents::Doctor {
    let state = |check: &Check| match check.state {
        State::Pass => "pass",
        State::Warn => "warn",
        State::Fail(_) => "fail",
    };
    let checked = |check: &Check| documents::Checked {
        what: check.what.to_owned(),
        state: state(check).to_owned(),
        seen: check.seen.clone(),
        next: check.next.as_ref().map(|next| ui.next(next)),
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
