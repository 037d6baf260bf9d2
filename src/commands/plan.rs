//! `plan`: what `up` would change, and why. `up` begins with the same observation.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use super::{Session, cost, data, secrets};
use crate::base::error::{Exit, Failure, Result};
use crate::commands::cli::{self, Renew};
use crate::commands::documents;
use crate::config::{Deployment, Network, Source};
use crate::engine::observe::{Ask, Launch, Observed};
use crate::engine::plan::{self, Plan};
use crate::engine::spec::{Policies, Spec, missing_secrets};
use crate::engine::topology;
use crate::release::proxy::Build;
use crate::release::{self, Processes, Release};
use crate::resources::references::{self, Place};
use crate::resources::release::{notes, other_content, short, without_damaged};
use crate::resources::reports::Report;
use crate::resources::{Action, Lookup, Step, history, instance};

pub(super) async fn run(session: &Session, arguments: &cli::Plan) -> Result<ExitCode> {
    let looked = session.interrupt.or(look(session, arguments.renew, Use::Show)).await?;
    let plan = looked.plan(session, true)?;
    let (missing, unusable) = unset(&session.deployment, &looked.observed)?;
    for line in &unusable {
        session.ui.warn(format!("the app cannot get {line}; up will refuse"));
    }
    if !missing.is_empty() {
        let (names, set) = (missing.join(", "), session.ui.run(&format!("secrets set {}", missing.join(" "))));
        session.ui.warn(format!("the app needs secrets that are not set: {names}; up will refuse; set them: {set}"));
    }
    if session.globals.json {
        let commands = looked.commands(session, &plan);
        session.ui.document(&document(session, &plan, looked.release.processes, (&missing, commands)));
    } else if plan.is_empty() {
        session.ui.result(&looked.up_to_date());
    } else {
        lines(&plan).iter().for_each(|line| session.ui.result(line));
        session.ui.say(format!("app: {}", looked.release.processes));
        for (name, process) in &session.deployment.processes {
            session.ui.say(format!("process {name}: {}", process.run));
        }
        if plan.costs() {
            session.ui.say(cost::line(session));
        }
        looked.say_commands(session, &plan);
        looked.say_data(session);
        let up = if arguments.renew.refresh_image { "up --refresh-image" } else { "up" };
        session.ui.say(format!("apply it: {}", session.ui.run(up)));
    }
    Ok(if plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Changes as u8) })
}

/// The use of a plan.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Use {
    /// It is shown.
    Show,
    /// It is executed. The bucket is not observed before a launch, which need not wait for it: the steps do that themselves.
    Execute,
}

/// The wanted release, and the observed resources.
pub(super) struct Looked {
    pub image: String,
    pub release: Release,
    pub proxy: Build,
    pub observed: Observed,
    policies: Policies,
    refresh: bool,
}

/// Builds the release and observes AWS concurrently; neither changes anything in AWS.
///
/// # Errors
/// A mistake in the app, an error of AWS, or a resource with a needed name that belongs to another owner.
pub(super) async fn look(session: &Session, renew: Renew, purpose: Use) -> Result<Looked> {
    certifiable(&session.deployment.network)?;
    let named = session.deployment.app.references();
    references::check_region(&named, &session.aws.region)?;
    let machine = session.aws.machine(&session.deployment.instance);
    let proxy = Build::of(&machine.target)?;
    let (kind, subnet) = (&session.deployment.instance.kind, session.deployment.network.subnet.as_deref());
    let ask = Ask {
        image: Some(&machine.parameter),
        launch: Some(Launch { kind, subnet }),
        domain: session.deployment.network.record(),
        app: Some(&session.deployment.app),
    };
    let sink = session.ui.sink();
    let build = release::build(&session.deployment, &machine.target, proxy, renew.upgrade, &*sink);
    let look = async {
        let observed = session.observe(ask).await?;
        // Before a build that may take minutes.
        let (missing, unusable) = unset(&session.deployment, &observed)?;
        match purpose {
            Use::Execute if !missing.is_empty() => Err(secrets::missing(&missing)),
            Use::Execute if !unusable.is_empty() => Err(secrets::unusable(&unusable)),
            _ => Ok(observed),
        }
    };
    let (release, mut observed) = tokio::try_join!(build, look)?;
    if release.resolved_anew {
        session.ui.warn("the resolved requirements in the cache were damaged and were resolved again");
    }
    release.warnings.iter().for_each(|line| session.ui.warn(line));
    if release.fresh {
        session.ui.say(format!("✓ built release {}", short(&release.id)));
    }
    observed.look_for_records(&session.aws, session.name(), ask).await?;
    for line in references::hidden(&named, observed.references.looked()?.unwrap_or(&BTreeMap::new())) {
        session.ui.warn(format!("cannot check {line}; the instance reads it with its own role"));
    }
    let place = Place { partition: &observed.partition, account: &observed.account, region: &session.aws.region };
    let sources = readable(session, place, &observed, &release.id, purpose).await?;
    let policies = Policies::new(place, session.name(), &sources);
    let mut looked = Looked { image: machine.image, release, proxy, observed, policies, refresh: renew.refresh_image };
    looked.spec(session, true).check(&looked.observed)?;
    if purpose == Use::Show || instance::alive(&looked.observed.instances).next().is_some() {
        looked.observed.look_into_store(&session.aws, session.name(), proxy).await?;
        // `policy --plan` does not allow to read a release.
        looked.doubt_store(session, purpose == Use::Show).await?;
    }
    Ok(looked)
}

/// The secrets that a user must set, and the references that the app cannot get, each with the reason.
fn unset<'a>(deployment: &'a Deployment, observed: &Observed) -> Result<(Vec<&'a str>, Vec<String>)> {
    let none = BTreeMap::new();
    let found = observed.references.looked()?.unwrap_or(&none);
    let unusable = references::unusable(&deployment.app.references(), found);
    Ok((missing_secrets(deployment, observed)?, unusable))
}

/// The sources that the role may read: those of the wanted release, and those that it may read already and that the release needs to
/// which `rollback` goes. So that release can run again, also after a restart of the instance.
async fn readable(
    session: &Session,
    place: Place<'_>,
    observed: &Observed,
    release: &str,
    purpose: Use,
) -> Result<BTreeSet<Source>> {
    let mut sources = session.deployment.app.sources();
    let granted = references::granted(observed.role.present().and_then(|role| role.policy.as_ref()));
    let is_needed = |arn: &String| sources.iter().any(|source| references::resource(place, source) == *arn);
    if granted.iter().all(is_needed) {
        return Ok(sources);
    }
    let Some(previous) = history::before(observed, release) else { return Ok(sources) };
    let notes = match notes(&session.aws, place.account, session.name(), &previous).await {
        // `policy --plan` does not allow to read a release.
        Err(failure) if purpose == Use::Show && failure.exit() == Exit::Denied => {
            session.ui.warn("not known which secrets the earlier release needs: s3:GetObject was denied");
            None
        }
        notes => notes?,
    };
    let kept = notes.into_iter().flat_map(|notes| notes.sources);
    sources.extend(kept.filter(|source| granted.contains(&references::resource(place, source))));
    Ok(sources)
}

impl Looked {
    /// Treats damaged objects in the bucket as absent, so that they are uploaded again.
    async fn doubt_store(&mut self, session: &Session, or_sound: bool) -> Result<()> {
        let Observed { store: Lookup::Present(store), reports, account, .. } = &mut self.observed else {
            return Ok(());
        };
        let id = &self.release.id;
        let other = if reports.iter().any(|(_, report)| report.blames_release(id)) {
            Some("its sha256 on the instance differs")
        } else if reports.iter().any(|(_, report)| report.healthy && report.release.as_ref() == Some(id)) {
            None // The instance checked it.
        } else {
            let whose = (account.as_str(), session.name());
            other_content(&session.aws, whose, &store.releases, &self.release, or_sound).await?
        };
        let wrong = without_damaged(&mut store.releases, &self.release, other);
        wrong.into_iter().for_each(|wrong| session.ui.warn(wrong));
        if store.proxy && reports.iter().any(|(_, report)| report.blames_proxy()) {
            session.ui.warn("Caddy in the bucket is damaged and will be replaced: its sha384 on the instance differs");
            store.proxy = false;
        }
        Ok(())
    }

    /// `wait`: whether a new instance must be healthy before it takes over.
    pub fn plan(&self, session: &Session, wait: bool) -> Result<Plan> {
        plan::up(&topology::single(&self.spec(session, wait)), &self.observed)
    }

    fn spec<'a>(&'a self, session: &'a Session, wait: bool) -> Spec<'a> {
        Spec {
            deployment: &session.deployment,
            region: &session.aws.region,
            image: &self.image,
            release: &self.release.id,
            proxy: self.proxy,
            policies: &self.policies,
            wait,
            refresh: self.refresh,
        }
    }

    /// The commands of `app.release` that run if the plan is executed. A release that was healthy has run them.
    fn commands<'a>(&self, session: &'a Session, plan: &Plan) -> &'a [String] {
        let ran = |report: &Report| report.healthy && report.release.as_ref() == Some(&self.release.id);
        let ran = self.observed.reports.iter().any(|(_, report)| ran(report));
        if plan.is_empty() || ran { &[] } else { &session.deployment.app.release }
    }

    /// Says which commands will run.
    pub fn say_commands(&self, session: &Session, plan: &Plan) {
        let commands = self.commands(session, plan);
        if !commands.is_empty() {
            let commands = commands.join("; ");
            session.ui.say(format!("app.release runs once for this release, before it starts: {commands}"));
        }
    }

    /// Says which data stays although `deploy.yaml` has none.
    pub fn say_data(&self, session: &Session) {
        let unused = data::volumes(&self.observed).filter(|_| session.deployment.data.is_none());
        unused.for_each(|volume| session.ui.say(data::stays(session, volume)));
    }

    /// The message when there are no changes.
    pub fn up_to_date(&self) -> String {
        let newest = self.observed.image.present().filter(|_| self.refresh);
        let newest = newest.map(|id| format!("; {id} is the newest image of {}", self.image)).unwrap_or_default();
        format!("already up to date{newest}")
    }
}

/// Checks that the certificate authority can reach the instance.
///
/// Let's Encrypt validates from many addresses and does not publish them:
/// <https://letsencrypt.org/docs/faq/#what-ip-addresses-does-let-s-encrypt-use-to-validate-my-web-server>
pub(super) fn certifiable(network: &Network) -> Result<()> {
    if !network.shuts_out_public_authorities() {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "cannot issue a certificate: network.allow blocks Let's Encrypt")
        .because("it connects to ports 80 and 443 from addresses that it does not publish, now and at each renewal")
        .standing("No call was made.")
        .next(
            "in deploy.yaml, under network: add 0.0.0.0/0 to allow (the app still requires the token); or set \
             acme_directory to an authority that allow lets in; or set https: off, if you trust the network path",
        ))
}

/// One line per step: its sign, its resource, and why.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    aligned(plan.steps.iter().collect())
}

fn aligned(steps: Vec<&Step>) -> Vec<String> {
    let width = steps.iter().map(|step| step.id.to_string().chars().count()).max().unwrap_or_default();
    let line =
        |step: &Step| format!("{} {:<width$} {}", sign(step.action), step.id.to_string(), step.reasons.join("; "));
    steps.into_iter().map(line).collect()
}

fn sign(action: Action) -> char {
    match action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Replace => '±',
        Action::Delete => '-',
    }
}

/// The plan as `up` shows it: one line for all resources to create, one line with reasons for each other step.
pub(super) fn summary(plan: &Plan) -> Vec<String> {
    let (made, rest): (Vec<&Step>, Vec<&Step>) = plan.steps.iter().partition(|step| step.action == Action::Create);
    let titles: Vec<String> = made.iter().map(|step| step.id.to_string()).collect();
    let made = (!titles.is_empty()).then(|| format!("+ {}", titles.join(", ")));
    made.into_iter().chain(aligned(rest)).collect()
}

fn document(
    session: &Session,
    plan: &Plan,
    processes: Processes,
    (missing, commands): (&[&str], &[String]),
) -> documents::Plan {
    let step = |step: &Step| documents::Step {
        kind: step.id.kind.title().to_owned(),
        name: Some(step.id.name.clone()).filter(|name| !name.is_empty()),
        action: step.action.name().to_owned(),
        reasons: step.reasons.clone(),
        needs: step.needs.iter().map(|need| need.to_string()).collect(),
    };
    documents::Plan {
        v: documents::Version,
        name: session.name().to_owned(),
        changes: !plan.is_empty(),
        steps: plan.steps.iter().map(step).collect(),
        missing_secrets: missing.iter().map(|&name| name.to_owned()).collect(),
        release_commands: commands.to_vec(),
        app: processes.into(),
        cost: (&cost::of(&session.deployment, &session.aws.region)).into(),
    }
}
