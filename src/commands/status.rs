//! `status`: the resources, the running release, its health and its URL. The exit code is 0 only if the app is healthy.

mod lines;
mod schedule;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use futures_util::future::join_all;

use super::{Session, data};
use crate::base::error::{Exit, Result};
use crate::base::names;
use crate::engine::cost::{self, Cost};
use crate::engine::deployments;
use crate::engine::observe::{Ask, Observed};
use crate::resources::elastic_ip;
use crate::resources::history::History;
use crate::resources::instance::{self, Build, State};
use crate::resources::release::{self, Notes};
pub(super) use lines::{ago, described};
use view::View;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let observed = session.interrupt.or(session.observe(Ask::default())).await?;
    let current = instance::serving(&observed.instances, &observed.addresses);
    let report = current.and_then(|instance| observed.report_of(&instance.id));
    let leads =
        |address: &&elastic_ip::State| current.is_some_and(|state| address.instance.as_ref() == Some(&state.id));
    let address = observed.addresses.iter().find(leads).or_else(|| observed.addresses.first());
    let ip = address.map(|address| address.ip).or_else(|| current.and_then(|instance| instance.ip));
    let url = session.aws.url_of(ip.filter(|_| current.is_some()), &session.deployment.network).await?;
    let cost = cost(session, &observed);
    let image = session.interrupt.or(async { Ok(image(session, current).await) }).await?;
    let view = View { name: session.name(), observed: &observed, current, address, report, url, cost, image };
    if session.globals.json {
        session.ui.document(&view.document());
    } else {
        let notes = session.interrupt.or(async { Ok(notes(session, &observed).await) }).await?;
        for (what, how) in view.lines(session, &notes).await {
            session.ui.pair(what, &how);
        }
    }
    Ok(if view.healthy() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Unhealthy as u8) })
}

/// The image of the instance; also whether there is a newer build, if the image is still the one in the file.
async fn image(session: &Session, current: Option<&State>) -> Option<Build> {
    let current = current.filter(|current| !current.image.is_empty())?;
    let machine = session.aws.machine(&session.deployment.instance);
    let subnet = session.deployment.network.subnet.as_deref();
    let spec = instance::spec(&session.deployment.instance, &machine.image, subnet);
    let same = current.tags.get(names::TAG_SPEC) == Some(&spec);
    Some(instance::build(&session.aws, &current.image, same.then_some(machine.parameter.as_str())).await)
}

/// The cost of the resources. The sizes of the instances' own disks come from the file, because only the data volumes are read.
fn cost(session: &Session, observed: &Observed) -> Cost {
    let disks = u32::try_from(observed.instances.len()).unwrap_or(u32::MAX);
    let disk_gib = session.deployment.instance.disk_gib.saturating_mul(disks).saturating_add(data::gib(observed));
    cost::of(&session.aws.region, &deployments::costs(&observed.instances, &observed.addresses, disk_gib))
}

/// The metadata of the running, wanted and previous release. If it cannot be read, the release is shown without it.
async fn notes(session: &Session, observed: &Observed) -> BTreeMap<String, Notes> {
    let History { runs, wanted, previous } = History::of(observed);
    let ids: BTreeSet<String> = [runs, wanted, previous].into_iter().flatten().collect();
    let look = ids.into_iter().map(async |id| {
        let found = release::notes(&session.aws, &observed.account, session.name(), &id).await;
        Some((id, found.ok()??))
    });
    join_all(look).await.into_iter().flatten().collect()
}
