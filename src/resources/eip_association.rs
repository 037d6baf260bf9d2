//! Elastic IP ↔ instance. A new association moves the traffic, so a new instance gets the address only when it is
//! ready.

use std::time::Duration;

use super::kinds::{Id, Kind};
use super::orders::Orders;
use super::step::{Resource, only};
use super::{Action, Planned, Sight, elastic_ip, instance, set_tags};
use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, call, explain};
use crate::base::error::Result;
use crate::resources::context::Context;

/// The change to apply: associate the address with the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change;

/// The wanted association.
#[derive(Clone, Debug)]
pub struct Wanted;

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::EipAssociation)
    }

    /// The instance looks up the name as soon as it has the address. Resolvers cache a negative answer for a quarter of
    /// an hour, so the record must exist first:
    /// <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/SOA-NSrecords.html>
    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        let records = sight.wanted.iter().filter(|wanted| wanted.kind() == Kind::DnsRecord).map(super::Wanted::id);
        let others = only([Kind::ElasticIp, Kind::Instance, Kind::Ingress, Kind::HealthGate]);
        others.into_iter().chain(records).collect()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(diff(sight.current.map(|instance| instance.id.as_str()), sight.address))
    }
}

/// The address must point to `instance` (`None`: the instance that will be launched).
fn diff(instance: Option<&str>, address: Option<&elastic_ip::State>) -> Option<Planned<Change>> {
    let leads = address.and_then(|address| address.instance.as_deref());
    match (address, leads, instance) {
        (_, Some(leads), Some(instance)) if leads == instance => None,
        (Some(address), Some(leads), _) => {
            Some(Planned::new(Action::Update, vec![format!("{} points to {leads}", address.ip)], Change))
        }
        _ => Some(Planned::create("no address points to the instance", Change)),
    }
}

/// Applies the change and returns the new state. A new instance accepts an address only after some seconds, and a new
/// address may be unknown at first.
pub async fn apply(context: &Context, _: Change) -> Result<String> {
    let instance = context.output::<instance::Output>(&instance::ID)?.id;
    let backoff = Backoff::polling(Duration::from_secs(120), Duration::from_secs(2));
    let not_yet = |error: &ApiError| {
        !context.interrupted()
            && error.is(&["InvalidInstanceID", "IncorrectInstanceState", "InvalidInstanceID.NotFound", GONE])
    };
    let associated = patiently(backoff, not_yet, || async {
        let id = context.known::<elastic_ip::Output>(&elastic_ip::ID).map(|address| address.id).unwrap_or_default();
        let request = || {
            let associate = context.aws.ec2.associate_address().allocation_id(&id).instance_id(&instance);
            associate.allow_reassociation(true).send()
        };
        let answer = call("ec2:AssociateAddress", request).await;
        if answer.as_ref().is_err_and(|error| error.is(&[GONE])) {
            elastic_ip::look_again(context).await;
        }
        answer
    });
    associated.await.map_err(|error| explain(format!("cannot associate the address with {instance}"), &error))?;
    let ip = context.output::<elastic_ip::Output>(&elastic_ip::ID)?.ip;
    let orders = Orders { address: Some(ip), ..Orders::default() };
    let tagged = set_tags(&context.aws, &[&instance], &orders.tags()).await;
    tagged.map_err(|error| explain(format!("cannot tag the instance {instance} with its address"), &error))?;
    Ok(format!("{ip} points to {instance}"))
}

const GONE: &str = "InvalidAllocationID.NotFound";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::resources::Tags;

    #[test]
    fn only_an_address_that_points_elsewhere_is_moved() {
        let mut address = elastic_ip::State {
            id: "eipalloc-1".into(),
            ip: Ipv4Addr::new(203, 0, 113, 1),
            instance: Some("i-1".into()),
            association: Some("eipassoc-1".into()),
            tags: Tags::new(),
        };
        assert_eq!(diff(Some("i-1"), Some(&address)), None);
        assert_eq!(diff(Some("i-2"), Some(&address)).unwrap().reasons, ["203.0.113.1 points to i-1"]);
        address.instance = None;
        assert_eq!(diff(Some("i-1"), Some(&address)).unwrap().action, Action::Create);
        assert!(diff(None, None).is_some());
    }
}
