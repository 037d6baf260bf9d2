//! The Elastic IP: the URL outlives the instance.
//!
//! `AllocateAddress` has no client token, so it is never sent twice blindly: a lost answer is looked for by tag, and of
//! two that are ours one goes.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_sdk_ec2::types::{DomainType, Filter, ResourceType};

use super::{Action, Planned, Tags, any_name_tag, by_name_tag, from_ec2, ours, tagged};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, Fault, call, explain, once};
use crate::base::error::{Failure, Result};
use crate::resources::context::Context;

/// An address as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `eipalloc-…`
    pub id: String,
    /// The address itself.
    pub ip: Ipv4Addr,
    /// The instance it leads to.
    pub instance: Option<String>,
    /// `eipassoc-…`
    pub association: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Allocate one.
    Allocate { tags: Tags },
    /// Tag the one that stays, let go of those that are too many.
    Update { keep: State, release: Vec<State>, tags: Tags },
    /// Let go of all.
    Release { all: Vec<State> },
}

/// Looks for ours by tag; the lowest id first.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<State>> {
    find(aws, Some(by_name_tag(name))).await
}

/// All of the region, whosever they are; and how many are ours.
pub async fn count(aws: &Aws, name: &str) -> Result<(usize, usize)> {
    let all = find(aws, None).await?;
    Ok((all.len(), all.iter().filter(|address| ours(&address.tags, name)).count()))
}

/// Looks for those of all deployments.
pub(super) async fn observe_all(aws: &Aws) -> Result<Vec<State>> {
    find(aws, Some(any_name_tag())).await
}

/// EC2 has no pages of addresses: there are never many.
async fn find(aws: &Aws, whose: Option<Filter>) -> Result<Vec<State>> {
    let whose = whose.map(|filter| vec![filter]);
    let request = || aws.ec2.describe_addresses().set_filters(whose.clone()).send();
    let answer =
        call("ec2:DescribeAddresses", request).await.map_err(|error| explain("cannot look for the address", &error))?;
    let mut found: Vec<State> = answer
        .addresses
        .unwrap_or_default()
        .into_iter()
        .filter_map(|address| {
            let ip = address.public_ip?.parse().ok()?;
            // EC2 (and emulators of it) write "none" both as absent and as empty.
            let some = |text: Option<String>| text.filter(|text| !text.is_empty());
            let (instance, association) = (some(address.instance_id), some(address.association_id));
            Some(State { id: address.allocation_id?, ip, instance, association, tags: from_ec2(address.tags) })
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Which of several stays: one that leads to an instance of ours is known to people already; else the lowest id, so that
/// two `up`s at once choose the same.
pub fn pick(have: &[State], leads: impl Fn(&str) -> bool) -> Option<&State> {
    let leads = |address: &&State| address.instance.as_deref().is_some_and(&leads);
    have.iter().find(leads).or_else(|| have.first())
}

/// One address, `keep` of those that there are.
pub fn diff(tags: &Tags, keep: Option<&State>, have: &[State]) -> Option<Planned<Change>> {
    let Some(keep) = keep else {
        return Some(Planned::create("there is none", Change::Allocate { tags: tags.clone() }));
    };
    let tags = super::missing(tags, &keep.tags);
    let release: Vec<State> = have.iter().filter(|address| address.id != keep.id).cloned().collect();
    let mut reasons = super::untagged(&tags);
    reasons.extend(release.iter().map(|extra| format!("{} is one too many", extra.ip)));
    let change = Change::Update { keep: keep.clone(), release, tags };
    (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, change))
}

/// What is to be done so that none stands.
pub fn removal(have: &[State]) -> Option<Planned<Change>> {
    (!have.is_empty()).then(|| Planned::delete(Change::Release { all: have.to_vec() }))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Allocate { tags } => {
            let (id, ip) = allocate(context, &tags).await?;
            context.set_address(&id, ip);
            Ok(ip.to_string())
        }
        Change::Update { keep, release: extra, tags } => {
            let tagged = super::set_tags(&context.aws, &[&keep.id], &tags).await;
            tagged.map_err(|error| explain(format!("the address {} cannot be tagged", keep.ip), &error))?;
            for address in &extra {
                release(context, address).await?;
            }
            Ok(keep.ip.to_string())
        }
        Change::Release { all } => {
            for address in &all {
                release(context, address).await?;
            }
            Ok("gone".into())
        }
    }
}

/// A lost answer is looked for by tag for a while; only then is another one asked for. Somebody else may have asked at
/// the same time: of two, one goes.
async fn allocate(context: &Context, tags: &Tags) -> Result<(String, Ipv4Addr)> {
    let request = || {
        let specification = tagged(ResourceType::ElasticIp, tags);
        context.aws.ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(specification).send()
    };
    let mut lost = 0;
    let made = loop {
        let answer = once("ec2:AllocateAddress", request).await;
        let error = match answer {
            Ok(answer) => match (answer.allocation_id, answer.public_ip.and_then(|ip| ip.parse().ok())) {
                (Some(id), Some(ip)) => break (id, ip),
                _ => return Err(Failure::failed("EC2 gave an address that cannot be read").next(AGAIN)),
            },
            Err(error) if error.fault() == Fault::Passing && lost < LOST => error,
            Err(error) => return Err(explain("no address can be had", &error)),
        };
        lost += 1;
        context.waits("address", &format!("the answer was lost, looking whether one was made ({})", error.message));
        if let Some(found) = found_again(context).await? {
            return Ok((found.id, found.ip));
        }
    };
    one_of_many(context, made).await
}

const AGAIN: &str = "run the same command again";
/// How many lost answers are borne, and how long an address is looked for after each.
const LOST: u32 = 3;
const LOOK: Duration = Duration::from_secs(4);

/// If one was made, it bears our tag, perhaps after a moment.
async fn found_again(context: &Context) -> Result<Option<State>> {
    let mut backoff = Backoff::new(LOOK);
    loop {
        let found = observe(&context.aws, &context.name).await?.into_iter().next();
        if found.is_some() || backoff.wait().await == Retry::Enough {
            return Ok(found);
        }
    }
}

/// Somebody who ran `up` at the same moment has made one as well: the one that leads somewhere stays, or the lower id.
async fn one_of_many(context: &Context, made: (String, Ipv4Addr)) -> Result<(String, Ipv4Addr)> {
    let all = observe(&context.aws, &context.name).await?;
    let Some(keep) = pick(&all, |_| true).filter(|_| all.len() > 1) else { return Ok(made) };
    for address in all.iter().filter(|address| address.id != keep.id) {
        release(context, address).await?;
    }
    Ok((keep.id.clone(), keep.ip))
}

/// Of two addresses that two `up`s made at once, one went: it may have been ours. What cannot be seen now is seen at the
/// next try.
pub async fn look_again(context: &Context) {
    if let Ok(found) = observe(&context.aws, &context.name).await
        && let Some(other) = pick(&found, |_| true)
    {
        context.set_address(&other.id, other.ip);
    }
}

async fn release(context: &Context, address: &State) -> Result<()> {
    let ec2 = &context.aws.ec2;
    let mut association = address.association.clone();
    let mut backoff = Backoff::new(Duration::from_secs(60));
    loop {
        if let Some(id) = &association {
            match call("ec2:DisassociateAddress", || ec2.disassociate_address().association_id(id).send()).await {
                Err(error) if !error.absent() => {
                    return Err(explain(format!("the address {} cannot be detached", address.ip), &error));
                }
                _ => {}
            }
        }
        match call("ec2:ReleaseAddress", || ec2.release_address().allocation_id(&address.id).send()).await {
            Ok(_) => return Ok(()),
            // Released already; it may even be somebody else's by now.
            Err(error) if error.absent() || error.is(&["AuthFailure"]) => return Ok(()),
            // Not detached yet; or attached since by somebody who ran `up` at the same time.
            Err(error) if error.is(&["InvalidIPAddress.InUse"]) && backoff.wait().await == Retry::Again => {
                let found = observe(&context.aws, &context.name).await?;
                association =
                    found.into_iter().find(|found| found.id == address.id).and_then(|found| found.association);
            }
            Err(error) => return Err(explain(format!("the address {} cannot be released", address.ip), &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, instance: Option<&str>) -> State {
        let instance = instance.map(str::to_owned);
        State {
            id: id.into(),
            ip: Ipv4Addr::new(203, 0, 113, 1),
            association: instance.clone().map(|_| "eipassoc-1".into()),
            instance,
            tags: Tags::new(),
        }
    }

    #[test]
    fn one_that_stands_is_kept() {
        let have = [state("eipalloc-1", Some("i-1"))];
        assert_eq!(diff(&Tags::new(), Some(&have[0]), &have), None);
        assert!(matches!(diff(&Tags::new(), None, &[]).unwrap().change, Change::Allocate { .. }));
    }

    #[test]
    fn of_two_the_one_that_people_know_stays_else_the_lower_id() {
        let have = [state("eipalloc-1", None), state("eipalloc-2", Some("i-1"))];
        assert_eq!(pick(&have, |id| id == "i-1").unwrap().id, "eipalloc-2");
        assert_eq!(pick(&have, |id| id == "i-2").unwrap().id, "eipalloc-1");
        let planned = diff(&Tags::new(), Some(&have[1]), &have).unwrap();
        let Change::Update { keep, release, .. } = planned.change else { panic!() };
        assert_eq!((keep.id.as_str(), release[0].id.as_str()), ("eipalloc-2", "eipalloc-1"));
    }
}
