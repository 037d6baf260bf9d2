//! The Elastic IP: the URL outlives the instance.
//!
//! `AllocateAddress` has no client token, so it is never retried blindly: after a lost response the address is searched
//! by tag, and of two addresses one is released.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_sdk_ec2::types::{DomainType, Filter, ResourceType};

use super::kinds::{Id, Kind};
use super::outputs::Outputs;
use super::step::{Resource, Step, only};
use super::{
    Action, Observed, Planned, Sight, Tags, any_name_tag, by_name_tag, dns_record, from_ec2, instance, ours, tagged,
};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, Fault, call, explain, once};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;

/// The state of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `eipalloc-…`
    pub id: String,
    /// The address itself.
    pub ip: Ipv4Addr,
    /// The instance that it points to.
    pub instance: Option<String>,
    /// `eipassoc-…`
    pub association: Option<String>,
    /// All tags.
    pub tags: Tags,
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Allocate one.
    Allocate { tags: Tags },
    /// Tag the address that stays.
    Tag { keep: State, tags: Tags },
    /// Release an address.
    Release { address: State },
}

/// The wanted address.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tags, except for the domain of its record.
    pub tags: Tags,
    /// The domain whose record points to it.
    pub domain: Option<String>,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `eipalloc-…`
    pub id: String,
    /// The address itself.
    pub ip: Ipv4Addr,
}

/// The address that stays.
pub const ID: Id = Id::of(Kind::ElasticIp);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    /// The tag of the domain: the old domain as long as its record exists, the new one before its record is created.
    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        only([Kind::HealthGate]).into_iter().chain(dns_record::surplus_ids(sight)).collect()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(diff(&self.tags(sight), sight.address))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(address) = sight.address {
            outputs.set(ID, Output { id: address.id.clone(), ip: address.ip });
        }
    }

    /// A name must not point to an address that may belong to another account by then. One that is released may be the only one
    /// whose tag has the name, so the one that stays is tagged first.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let keep = sight.address.map(|address| &address.id);
        let first = || keep.map(|_| ID).into_iter().chain(only([Kind::HealthGate]));
        let needs = || first().chain(dns_record::surplus_ids(sight)).collect();
        let step = |address: &State| {
            // A duplicate is the result of a race, which `up` repairs without a question.
            let (action, reason) = match keep {
                Some(_) => (Action::Update, format!("{} is a duplicate", address.ip)),
                None => (Action::Delete, "no longer wanted".to_owned()),
            };
            let change = Change::Release { address: address.clone() };
            Planned::new(action, vec![reason], change).step(Id::named(ID.kind, address.ip.to_string()), needs())
        };
        Ok(sight.have.addresses.iter().filter(|address| Some(&address.id) != keep).map(step).collect())
    }
}

impl Wanted {
    /// The tags with the domain of its record. If the record is deleted, an empty value replaces the old one.
    fn tags(&self, sight: &Sight<'_>) -> Tags {
        let mut tags = self.tags.clone();
        let known = sight.have.addresses.iter().any(|address| address.tags.contains_key(names::TAG_DOMAIN));
        if let Some(domain) = self.domain.as_deref().or(known.then_some("")) {
            tags.insert(names::TAG_DOMAIN.into(), domain.to_owned());
        }
        tags
    }
}

/// Finds our addresses by tag; the lowest id first.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<State>> {
    find(aws, Some(by_name_tag(name))).await
}

/// All addresses of the region, and how many are ours.
pub async fn count(aws: &Aws, name: &str) -> Result<(usize, usize)> {
    let all = find(aws, None).await?;
    Ok((all.len(), all.iter().filter(|address| ours(&address.tags, name)).count()))
}

/// Finds the addresses of all deployments.
pub(super) async fn observe_all(aws: &Aws) -> Result<Vec<State>> {
    find(aws, Some(any_name_tag())).await
}

/// `DescribeAddresses` has no pages: an account has few addresses.
async fn find(aws: &Aws, whose: Option<Filter>) -> Result<Vec<State>> {
    let whose = whose.map(|filter| vec![filter]);
    let request = || aws.ec2.describe_addresses().set_filters(whose.clone()).send();
    let answer =
        call("ec2:DescribeAddresses", request).await.map_err(|error| explain("cannot list the addresses", &error))?;
    let mut found: Vec<State> = answer
        .addresses
        .unwrap_or_default()
        .into_iter()
        .filter_map(|address| {
            let ip = address.public_ip?.parse().ok()?;
            // EC2 and its emulators return "none" either as absent or as empty.
            let some = |text: Option<String>| text.filter(|text| !text.is_empty());
            let (instance, association) = (some(address.instance_id), some(address.association_id));
            Some(State { id: address.allocation_id?, ip, instance, association, tags: from_ec2(address.tags) })
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Chooses which of several addresses stays: one that points to an instance of ours is already known to clients;
/// otherwise the lowest id, so that two concurrent `up`s choose the same one.
fn pick(have: &[State], leads: impl Fn(&str) -> bool) -> Option<&State> {
    let leads = |address: &&State| address.instance.as_deref().is_some_and(&leads);
    have.iter().find(leads).or_else(|| have.first())
}

/// The existing address that stays: [`pick`].
pub fn kept(have: &Observed) -> Option<&State> {
    pick(&have.addresses, |id| instance::alive(&have.instances).any(|instance| instance.id == id))
}

/// An address with these tags: `keep`, or a new one.
fn diff(tags: &Tags, keep: Option<&State>) -> Option<Planned<Change>> {
    match keep {
        None => Some(Planned::create("does not exist", Change::Allocate { tags: tags.clone() })),
        Some(keep) => Planned::tag(super::missing(tags, &keep.tags), |tags| Change::Tag { keep: keep.clone(), tags }),
    }
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Allocate { tags } => {
            let (id, ip) = allocate(context, &tags).await?;
            context.learn(Output { id, ip });
            Ok(ip.to_string())
        }
        Change::Tag { keep, tags } => {
            let tagged = super::set_tags(&context.aws, &[&keep.id], &tags).await;
            tagged.map_err(|error| explain(format!("cannot tag the address {}", keep.ip), &error))?;
            Ok(keep.ip.to_string())
        }
        Change::Release { address } => {
            release(context, &address).await?;
            Ok("released".into())
        }
    }
}

/// After a lost response, searches by tag for a while before it allocates another address. A concurrent command may
/// have allocated one too: of two, one is released.
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
                _ => return Err(Failure::failed("EC2 returned an invalid address").next(AGAIN)),
            },
            Err(error) if error.fault() == Fault::Passing && lost < LOST => error,
            Err(error) => return Err(explain("cannot allocate an address", &error)),
        };
        lost += 1;
        context.waits(&format!("the response was lost; checking whether an address was allocated ({})", error.message));
        if let Some(found) = found_again(context).await? {
            return Ok((found.id, found.ip));
        }
    };
    one_of_many(context, made).await
}

const AGAIN: &str = "run the same command again";
/// How many lost responses are tolerated, and how long to search after each.
const LOST: u32 = 3;
const LOOK: Duration = Duration::from_secs(4);

/// A new address has our tag, perhaps after a moment.
async fn found_again(context: &Context) -> Result<Option<State>> {
    let mut backoff = Backoff::new(LOOK);
    loop {
        let found = observe(&context.aws, &context.name).await?.into_iter().next();
        if found.is_some() || backoff.wait().await == Retry::Enough {
            return Ok(found);
        }
    }
}

/// A concurrent `up` has allocated an address as well: the associated one stays, or the lower id.
async fn one_of_many(context: &Context, made: (String, Ipv4Addr)) -> Result<(String, Ipv4Addr)> {
    let all = observe(&context.aws, &context.name).await?;
    let Some(keep) = pick(&all, |_| true).filter(|_| all.len() > 1) else { return Ok(made) };
    for address in all.iter().filter(|address| address.id != keep.id) {
        release(context, address).await?;
    }
    Ok((keep.id.clone(), keep.ip))
}

/// Of two addresses of concurrent `up`s, one was released, possibly ours. If that is not visible now, the next attempt
/// sees it.
pub async fn look_again(context: &Context) {
    if let Ok(found) = observe(&context.aws, &context.name).await
        && let Some(other) = pick(&found, |_| true)
    {
        context.learn_of(&ID, Output { id: other.id.clone(), ip: other.ip });
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
                    return Err(explain(format!("cannot disassociate the address {}", address.ip), &error));
                }
                _ => {}
            }
        }
        match call("ec2:ReleaseAddress", || ec2.release_address().allocation_id(&address.id).send()).await {
            Ok(_) => return Ok(()),
            // Already released; it may even belong to another account by now.
            Err(error) if error.absent() || error.is(&["AuthFailure"]) => return Ok(()),
            // Not disassociated yet, or associated again by a concurrent `up`.
            Err(error) if error.is(&["InvalidIPAddress.InUse"]) && backoff.wait().await == Retry::Again => {
                let found = observe(&context.aws, &context.name).await?;
                association =
                    found.into_iter().find(|found| found.id == address.id).and_then(|found| found.association);
            }
            Err(error) => return Err(explain(format!("cannot release the address {}", address.ip), &error)),
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
    fn an_existing_address_is_kept() {
        let have = [state("eipalloc-1", Some("i-1"))];
        assert_eq!(diff(&Tags::new(), Some(&have[0])), None);
        assert!(matches!(diff(&Tags::new(), None).unwrap().change, Change::Allocate { .. }));
    }

    #[test]
    fn of_two_the_associated_one_stays_else_the_lower_id() {
        let have = [state("eipalloc-1", None), state("eipalloc-2", Some("i-1"))];
        assert_eq!(pick(&have, |id| id == "i-1").unwrap().id, "eipalloc-2");
        assert_eq!(pick(&have, |id| id == "i-2").unwrap().id, "eipalloc-1");
        let wanted = [super::super::Wanted::from(Wanted { tags: Tags::new(), domain: None })];
        let have = Observed { addresses: have.to_vec(), ..Observed::default() };
        let released = Wanted::surplus(&Sight::new(&wanted, &have)).unwrap();
        let changes: Vec<_> = released.into_iter().map(|step| step.change).collect();
        // There is no instance, so neither points to one.
        let expected = Change::Release { address: have.addresses[1].clone() };
        assert_eq!(changes, [super::super::Change::from(expected)]);
    }
}
