//! The states in which each resource can be found, and all of their combinations.

use proptest::prelude::*;

use super::account::*;
use super::fixtures::*;
use crate::base::names;
use crate::engine::observe::Store;
use crate::resources::Lookup;
use crate::resources::ingress::Rule;
use crate::resources::instance::Phase;
use crate::resources::orders::Orders;
use crate::resources::{Tags, role, secrets};

/// One resource: complete, missing, or damaged in one of the ways that AWS, a person or a killed run can leave it.
pub type Ways = Vec<fn(&mut Account)>;

/// A damaged role: the instances that had its credentials lose them.
pub fn spoil_role(account: &mut Account, how: impl FnOnce(&mut role::State)) {
    how(account.seen.role.present_mut().unwrap());
    account.served.clear();
}

/// The states of each kind. The address is last: it may point to a deleted instance.
pub fn ways() -> [Ways; 8] {
    [security_group(), key_pair(), role(), token(), secrets(), bucket(), instance(), elastic_ip()]
}

const COMPLETE: fn(&mut Account) = |_| {};

fn security_group() -> Ways {
    vec![
        COMPLETE,
        |account| account.seen.security_group = Lookup::Absent,
        |account| account.seen.security_group.present_mut().unwrap().ingress.clear(),
        |account| account.seen.security_group.present_mut().unwrap().nonce = None,
        |account| {
            let ssh = Rule::new("tcp", 22, "0.0.0.0/0".parse().unwrap());
            account.seen.security_group.present_mut().unwrap().ingress.insert(ssh);
        },
    ]
}

fn key_pair() -> Ways {
    vec![COMPLETE, |account| account.seen.key_pair = Lookup::Absent, |account| {
        drop(account.seen.key_pair.present_mut().unwrap().tags.remove("team"))
    }]
}

fn role() -> Ways {
    vec![
        COMPLETE,
        |account| {
            account.seen.role = Lookup::Absent;
            account.served.clear();
        },
        |account| account.seen.role.present_mut().unwrap().policy = None,
        |account| spoil_role(account, |role| role.profile = None),
        |account| spoil_role(account, |role| role.profile.as_mut().unwrap().holds_role = false),
        |account| {
            spoil_role(account, |role| {
                let profile = role.profile.as_mut().unwrap();
                (profile.holds_role, profile.others) = (false, vec!["theirs".into()]);
            });
        },
        |account| {
            spoil_role(account, |role| {
                (role.role, role.policy) = (None, None);
                role.profile.as_mut().unwrap().holds_role = false;
            });
        },
        |account| drop(account.seen.role.present_mut().unwrap().profile.as_mut().unwrap().tags.remove("team")),
    ]
}

fn token() -> Ways {
    vec![
        COMPLETE,
        |account| account.seen.token = Lookup::Absent,
        |account| account.seen.token.present_mut().unwrap().version = 7,
        |account| {
            // Deleted and re-created while the instance has a higher version.
            account.current().tell(Orders { token: Some(9), ..Orders::default() });
        },
    ]
}

fn secrets() -> Ways {
    vec![
        COMPLETE,
        |account| account.seen.secrets = Lookup::Absent,
        // Set without a restart, or by a command that was killed then.
        |account| account.secret("MORE", &secrets::Change::Write { tags: Tags::new(), stands: false }),
    ]
}

fn bucket() -> Ways {
    vec![COMPLETE, |account| account.store = Store::default(), |account| account.store.releases.clear(), |account| {
        account.store.bucket.as_mut().unwrap().closed = false
    }]
}

fn instance() -> Ways {
    vec![
        COMPLETE,
        |account| account.seen.instances.clear(),
        |account| account.current().phase = Phase::Stopped,
        |account| account.current().phase = Phase::Dying,
        |account| {
            account.current().profile = None;
            account.served.clear();
        },
        |account| account.current().metadata = false,
        |account| drop(account.current().tags.insert(names::TAG_SPEC.into(), "another".into())),
        |account| account.current().forget(|orders| orders.release = None),
        // Another release is ordered, and runs or does not run.
        |account| {
            account.current().tell(to_run(BEFORE));
            says(account, BEFORE);
        },
        |account| {
            account.current().tell(Orders { previous: Some(BEFORE.into()), ..to_run(BROKEN) });
            says(account, BEFORE);
        },
        |account| account.current().forget(|orders| orders.token = None),
        |account| drop(account.current().tags.remove("team")),
        |account| {
            let mut second = account.current().clone();
            second.id = "i-second".into();
            account.seen.instances.push(second);
        },
        // A replacement that was killed after the launch.
        |account| {
            let mut new = account.current().clone();
            account.current().tags.insert(names::TAG_SPEC.into(), "another".into());
            (new.id, new.profile, new.launched) = ("i-fresh".into(), None, 2);
            account.seen.instances.insert(0, new);
        },
        // The same for a newer image.
        |account| {
            let mut new = account.current().clone();
            account.seen.image = Lookup::Present("ami-2".into());
            (new.id, new.image, new.profile, new.launched) = ("i-fresh".into(), "ami-2".into(), None, 2);
            account.seen.instances.insert(0, new);
        },
    ]
}

fn elastic_ip() -> Ways {
    vec![
        COMPLETE,
        |account| account.seen.addresses.clear(),
        |account| (account.seen.addresses[0].instance, account.seen.addresses[0].association) = (None, None),
        |account| account.seen.addresses[0].instance = Some("i-of-another-user".into()),
        |account| account.seen.addresses.push(elastic("eipalloc-2", None, Tags::new())),
    ]
}

/// Every combination of the states, in two parts: no step of a secret needs the security group or the key pair, or is
/// needed by them, so the states of the secrets are combined with all but theirs.
pub fn every(visit: &(dyn Fn(&Account) + Sync)) {
    let [group, key, role, token, secrets, bucket, instance, address] = ways();
    let rest = [token, bucket, instance, address];
    combine(&[vec![role.clone(), group, key], rest.to_vec()].concat(), visit);
    combine(&[vec![role, secrets[1..].to_vec()], rest.to_vec()].concat(), visit);
}

/// Every combination of these states; each state of the first kind in its own thread.
fn combine(ways: &[Ways], visit: &(dyn Fn(&Account) + Sync)) {
    fn spoil(ways: &[Ways], account: Account, visit: &dyn Fn(&Account)) {
        let Some((first, rest)) = ways.split_first() else { return visit(&account.looked()) };
        for way in first {
            let mut account = account.clone();
            way(&mut account);
            spoil(rest, account, visit);
        }
    }
    let (first, rest) = ways.split_first().unwrap();
    std::thread::scope(|scope| {
        for way in first {
            scope.spawn(|| {
                let mut account = Account::complete();
                way(&mut account);
                spoil(rest, account, visit);
            });
        }
    });
}

/// Any of these states at once, duplicates included, and whether the bucket is read before the plan.
pub fn spoilt() -> impl Strategy<Value = Account> {
    let ways = ways().map(|ways| (0..ways.len()).prop_map(move |pick| ways[pick]));
    (ways, any::<bool>()).prop_map(|(ways, looked)| {
        let mut account = Account::complete();
        ways.iter().for_each(|way| way(&mut account));
        let mut account = account.looked();
        if !looked {
            account.seen.store = Lookup::NotAsked;
        }
        account
    })
}
