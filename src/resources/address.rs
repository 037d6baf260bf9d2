//! The Elastic IP: the URL outlives the instance.
//!
//! `AllocateAddress` has no client token, so it is never sent twice blindly: a lost answer is looked for by tag, and of
//! two that are ours the one with the lower id stays.

use std::net::Ipv4Addr;

use aws_sdk_ec2::types::{DomainType, ResourceType};

use super::{Action, Planned, Tags, by_name_tag, from_ec2, tagged};
use crate::aws::{ApiError, Aws, Fault, call, explain, once};
use crate::engine::context::Context;
use crate::engine::retry::{Backoff, Retry};
use crate::error::{Failure, Result};

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
    /// Allocate one if there is none, lead it to the instance, let go of those that are too many.
    Ensure { keep: Option<State>, attach: bool, release: Vec<State>, tags: Tags },
    /// Let go of all.
    Release { all: Vec<State> },
}

/// Looks for ours by tag; the lowest id first.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<State>> {
    let request = || aws.ec2.describe_addresses().filters(by_name_tag(name)).send();
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

/// One address that leads to `instance` (none yet: to the one that will be launched).
pub fn diff(tags: &Tags, instance: Option<&str>, have: &[State]) -> Option<Planned<Change>> {
    let (keep, extra) = match have.split_first() {
        Some((keep, extra)) => (Some(keep.clone()), extra.to_vec()),
        None => (None, Vec::new()),
    };
    let attached = keep.as_ref().is_some_and(|keep| instance.is_some() && keep.instance.as_deref() == instance);
    let tags = keep.as_ref().map_or_else(|| tags.clone(), |keep| super::missing(tags, &keep.tags));
    let mut reasons = Vec::new();
    match &keep {
        None => reasons.push("there is none".to_owned()),
        Some(keep) if !attached => reasons.push(format!("{} does not lead to the instance", keep.ip)),
        Some(_) => reasons.extend(tags.keys().map(|key| format!("tag {key} is missing or different"))),
    }
    reasons.extend(extra.iter().map(|extra| format!("{} is one too many", extra.ip)));
    let action = if keep.is_none() { Action::Create } else { Action::Update };
    let change = Change::Ensure { keep, attach: !attached, release: extra, tags };
    (!reasons.is_empty()).then(|| Planned::new(action, reasons, change))
}

/// What is to be done so that none stands.
pub fn removal(have: &[State]) -> Option<Planned<Change>> {
    (!have.is_empty()).then(|| Planned::delete(Change::Release { all: have.to_vec() }))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Ensure { keep, attach: wanted, release: extra, tags } => {
            let (id, ip) = match keep {
                Some(keep) => {
                    let tagged = super::security_group::set_tags(&context.aws, &keep.id, &tags).await;
                    tagged.map_err(|error| explain(format!("the address {} cannot be tagged", keep.ip), &error))?;
                    (keep.id, keep.ip)
                }
                None => allocate(context, &tags).await?,
            };
            if wanted {
                attach(context, &id, ip).await?;
            }
            for address in &extra {
                release(context, address).await?;
            }
            context.set_ip(ip);
            Ok(ip.to_string())
        }
        Change::Release { all } => {
            for address in &all {
                release(context, address).await?;
            }
            Ok("gone".into())
        }
    }
}

async fn allocate(context: &Context, tags: &Tags) -> Result<(String, Ipv4Addr)> {
    let request = || {
        let specification = tagged(ResourceType::ElasticIp, tags);
        context.aws.ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(specification).send()
    };
    match once("ec2:AllocateAddress", request).await {
        Ok(answer) => {
            let ip = answer.public_ip.as_deref().and_then(|ip| ip.parse().ok());
            match (answer.allocation_id, ip) {
                (Some(id), Some(ip)) => Ok((id, ip)),
                _ => found_again(context, None).await,
            }
        }
        Err(error) if error.fault() == Fault::Passing => found_again(context, Some(error)).await,
        Err(error) => Err(explain("no address can be had", &error)),
    }
}

/// The answer was lost: if one was made, it bears our tag, perhaps after a moment.
async fn found_again(context: &Context, error: Option<ApiError>) -> Result<(String, Ipv4Addr)> {
    let mut backoff = Backoff::new(std::time::Duration::from_secs(15));
    loop {
        if let Some(found) = observe(&context.aws, &context.name).await?.into_iter().next() {
            return Ok((found.id, found.ip));
        }
        if backoff.wait().await == Retry::Enough {
            return Err(match error {
                Some(error) => explain("no address can be had", &error),
                None => Failure::failed("EC2 gave an address that cannot be read").next("run the same command again"),
            });
        }
    }
}

/// An instance that has only just been launched is not ready for an address for some seconds.
async fn attach(context: &Context, id: &str, ip: Ipv4Addr) -> Result<()> {
    let instance = context.instance()?;
    let mut backoff = Backoff::polling(std::time::Duration::from_secs(120), std::time::Duration::from_secs(2));
    loop {
        let request = || {
            context
                .aws
                .ec2
                .associate_address()
                .allocation_id(id)
                .instance_id(&instance)
                .allow_reassociation(true)
                .send()
        };
        match call("ec2:AssociateAddress", request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is(&["InvalidInstanceID", "IncorrectInstanceState", "InvalidInstanceID.NotFound"]) => {
                context.check_interrupt()?;
                if backoff.wait().await == Retry::Enough {
                    return Err(explain(format!("the address {ip} cannot be led to {instance}"), &error));
                }
            }
            Err(error) => return Err(explain(format!("the address {ip} cannot be led to {instance}"), &error)),
        }
    }
}

async fn release(context: &Context, address: &State) -> Result<()> {
    let ec2 = &context.aws.ec2;
    if let Some(association) = &address.association {
        match call("ec2:DisassociateAddress", || ec2.disassociate_address().association_id(association).send()).await {
            Ok(_) => {}
            Err(error) if error.absent() => {}
            Err(error) => return Err(explain(format!("the address {} cannot be detached", address.ip), &error)),
        }
    }
    let mut backoff = Backoff::new(std::time::Duration::from_secs(60));
    loop {
        match call("ec2:ReleaseAddress", || ec2.release_address().allocation_id(&address.id).send()).await {
            Ok(_) => return Ok(()),
            // Released already; it may even be somebody else's by now.
            Err(error) if error.absent() || error.is(&["AuthFailure"]) => return Ok(()),
            Err(error) if error.is(&["InvalidIPAddress.InUse"]) && backoff.wait().await == Retry::Again => {}
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
    fn one_that_leads_to_the_instance_is_kept() {
        assert_eq!(diff(&Tags::new(), Some("i-1"), &[state("eipalloc-1", Some("i-1"))]), None);
    }

    #[test]
    fn of_two_the_lower_id_stays() {
        let planned =
            diff(&Tags::new(), Some("i-1"), &[state("eipalloc-1", Some("i-1")), state("eipalloc-2", None)]).unwrap();
        let Change::Ensure { keep, attach, release, .. } = planned.change else { panic!() };
        assert_eq!((keep.unwrap().id.as_str(), attach, release[0].id.as_str()), ("eipalloc-1", false, "eipalloc-2"));
    }

    #[test]
    fn one_that_leads_elsewhere_is_moved() {
        let planned = diff(&Tags::new(), Some("i-2"), &[state("eipalloc-1", Some("i-1"))]).unwrap();
        assert!(matches!(planned.change, Change::Ensure { attach: true, .. }));
        assert!(matches!(
            diff(&Tags::new(), None, &[state("eipalloc-1", None)]).unwrap().change,
            Change::Ensure { attach: true, .. }
        ));
    }
}
