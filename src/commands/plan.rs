//! `plan`: what `up` would do, and why; nothing is changed. `up` begins with the same look.

use std::process::ExitCode;

use super::{Session, cost};
use crate::base::error::{Exit, Failure, Result};
use crate::commands::cli::{self, Renew};
use crate::commands::documents;
use crate::config::Network;
use crate::engine::observe::{Ask, Launch, Observed};
use crate::engine::plan::{self, Plan, Policies, Step, Wanted};
use crate::release::edge::Build;
use crate::release::{self, Release};
use crate::resources::release::{other_content, short, without_damaged};
use crate::resources::{Action, instance};

pub(super) async fn run(session: &Session, arguments: &cli::Plan) -> Result<ExitCode> {
    let looked = session.interrupt.or(look(session, arguments.renew, Store::Always)).await?;
    let plan = looked.plan(session, true)?;
    if session.globals.json {
        session.ui.document(&document(session, &plan));
    } else if plan.is_empty() {
        session.ui.result(&looked.nothing_to_do());
    } else {
        lines(&plan).iter().for_each(|line| session.ui.result(line));
        if plan.costs() {
            session.ui.say(cost::line(session));
        }
        let up = if arguments.renew.refresh_image { "up --refresh-image" } else { "up" };
        session.ui.say(format!("to do it: {}", session.command(up)));
    }
    Ok(if plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Changes as u8) })
}

/// Whether it is looked what is in the bucket.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Store {
    Always,
    /// Not where an instance has to be launched: it need not wait for that, and the steps look for themselves.
    UnlessLaunching,
}

/// What is to run, and what stands.
pub(super) struct Looked {
    pub image: String,
    pub release: Release,
    pub edge: Build,
    pub observed: Observed,
    policies: Policies,
    refresh: bool,
}

/// The release is built while AWS is looked at; neither changes anything there.
///
/// # Errors
/// What is wrong with the app, what AWS says, and what bears our name and is not ours.
pub(super) async fn look(session: &Session, renew: Renew, store: Store) -> Result<Looked> {
    certifiable(&session.deployment.network)?;
    let machine = session.aws.machine(&session.deployment.instance);
    let edge = Build::of(&machine.target)?;
    let (kind, subnet) = (&session.deployment.instance.kind, session.deployment.network.subnet.as_deref());
    let ask = Ask {
        image: Some(&machine.parameter),
        launch: Some(Launch { kind, subnet }),
        domain: session.deployment.network.record(),
    };
    let build = release::build(&session.deployment, &machine.target, edge, renew.upgrade);
    let look = session.observe(ask);
    let (release, mut observed) = tokio::try_join!(build, look)?;
    if release.resolved_anew {
        session.ui.warn("the resolved requirements in the cache were damaged; they were resolved again");
    }
    release.warnings.iter().for_each(|line| session.ui.warn(line));
    if release.fresh {
        session.ui.say(format!("✓ built release {}", short(&release.id)));
    }
    observed.look_for_records(&session.aws, session.name(), ask).await?;
    let policies = Policies::new(&observed.partition, &observed.account, &session.aws.region, session.name());
    let mut looked = Looked { image: machine.image, release, edge, observed, policies, refresh: renew.refresh_image };
    looked.wanted(session, true).check(&looked.observed)?;
    if store == Store::Always || instance::alive(&looked.observed.instances).next().is_some() {
        looked.observed.look_into_store(&session.aws, session.name(), edge).await?;
        // With what `policy --plan` allows, no release can be read.
        looked.doubt_store(session, store == Store::Always).await?;
    }
    Ok(looked)
}

impl Looked {
    /// What the bucket holds damaged counts as not there, so that it is uploaded again.
    async fn doubt_store(&mut self, session: &Session, or_sound: bool) -> Result<()> {
        let Observed { store: Some(store), reports, account, .. } = &mut self.observed else { return Ok(()) };
        let id = &self.release.id;
        let other = if reports.iter().any(|(_, report)| report.blames_release(id)) {
            Some("the instance found another sha256")
        } else if reports.iter().any(|(_, report)| report.healthy && report.release.as_ref() == Some(id)) {
            None // The instance checked it.
        } else {
            let whose = (account.as_str(), session.name());
            other_content(&session.aws, whose, &store.releases, &self.release, or_sound).await?
        };
        let wrong = without_damaged(&mut store.releases, &self.release, other);
        wrong.into_iter().for_each(|wrong| session.ui.warn(wrong));
        if store.edge && reports.iter().any(|(_, report)| report.blames_proxy()) {
            session.ui.warn("Caddy in the bucket is damaged and will be replaced: the instance found another sha384");
            store.edge = false;
        }
        Ok(())
    }

    /// `wait`: whether a new instance must be healthy before it takes over.
    pub fn plan(&self, session: &Session, wait: bool) -> Result<Plan> {
        plan::up(&self.wanted(session, wait), &self.observed)
    }

    fn wanted<'a>(&'a self, session: &'a Session, wait: bool) -> Wanted<'a> {
        Wanted {
            deployment: &session.deployment,
            region: &session.aws.region,
            image: &self.image,
            release: &self.release.id,
            edge: self.edge,
            policies: &self.policies,
            wait,
            refresh: self.refresh,
        }
    }

    /// What is said where nothing is to be done.
    pub fn nothing_to_do(&self) -> String {
        let newest = self.observed.image.as_ref().filter(|_| self.refresh);
        let newest = newest.map(|id| format!(", and {id} is the newest image of {}", self.image)).unwrap_or_default();
        format!("nothing to do: everything is as deploy.yaml says{newest}")
    }
}

/// Whether a certificate can be had for it.
///
/// # Errors
/// That nobody who gives one could come in.
pub(super) fn certifiable(network: &Network) -> Result<()> {
    if network.shuts_out_public_authorities() { Err(no_way_for_the_authority()) } else { Ok(()) }
}

/// It validates from many places, and says of none where they are:
/// <https://letsencrypt.org/docs/faq/#what-ip-addresses-does-let-s-encrypt-use-to-validate-my-web-server>
fn no_way_for_the_authority() -> Failure {
    Failure::new(Exit::Usage, "no certificate can be had: network.allow keeps Let's Encrypt out")
        .because("it comes to ports 80 and 443 from addresses that it does not publish, now and at each renewal")
        .standing("Nothing was called.")
        .next(
            "in deploy.yaml, under network: add 0.0.0.0/0 to allow (the app still asks for the token); or name an \
               authority that is let in with acme_directory; or set https: off, and trust whoever is on the way",
        )
}

/// One line a step: its sign, what it is about, and why.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(line).collect()
}

fn line(step: &Step) -> String {
    format!("{} {:<15} {}", sign(step.action), step.kind.title(), step.reasons.join("; "))
}

fn sign(action: Action) -> char {
    match action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Replace => '±',
        Action::Delete => '-',
    }
}

/// As `up` shows it before it begins: what is made in one line, what is changed with its reasons.
pub(super) fn summary(plan: &Plan) -> Vec<String> {
    let (made, rest): (Vec<&Step>, Vec<&Step>) = plan.steps.iter().partition(|step| step.action == Action::Create);
    let titles: Vec<&str> = made.iter().map(|step| step.kind.title()).collect();
    let made = (!titles.is_empty()).then(|| format!("+ {}", titles.join(", ")));
    made.into_iter().chain(rest.into_iter().map(line)).collect()
}

fn document(session: &Session, plan: &Plan) -> documents::Plan {
    let step = |step: &Step| documents::Step {
        kind: step.kind.title().to_owned(),
        action: step.action.name().to_owned(),
        reasons: step.reasons.clone(),
        needs: step.needs.iter().map(|need| need.title().to_owned()).collect(),
    };
    documents::Plan {
        v: documents::Version,
        name: session.name().to_owned(),
        changes: !plan.is_empty(),
        steps: plan.steps.iter().map(step).collect(),
        cost: (&cost::of(&session.deployment, &session.aws.region)).into(),
    }
}
