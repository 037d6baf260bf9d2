//! The states that each thing can be found in, and all of their combinations.

use proptest::prelude::*;

use super::super::*;
use super::world::*;
use crate::engine::observe::Store;
use crate::resources::Lookup;
use crate::resources::ingress::Rule;
use crate::resources::instance::Phase;

/// One thing, whole, missing, or spoilt in one of the ways that AWS, a person or a killed run can leave it in.
pub type Ways = Vec<fn(&mut World)>;

/// The role, as it is spoilt; who had its credentials has them no longer.
pub fn spoil_role(world: &mut World, how: impl FnOnce(&mut role::State)) {
    how(world.seen.role.present_mut().unwrap());
    world.served.clear();
}

pub fn ways() -> [Ways; 7] {
    let whole: fn(&mut World) = |_| {};
    [
        vec![
            whole,
            |world| world.seen.security_group = Lookup::Absent,
            |world| world.seen.security_group.present_mut().unwrap().ingress.clear(),
            |world| world.seen.security_group.present_mut().unwrap().nonce = None,
            |world| {
                let ssh = Rule::new("tcp", 22, "0.0.0.0/0".parse().unwrap());
                world.seen.security_group.present_mut().unwrap().ingress.insert(ssh);
            },
        ],
        vec![whole, |world| world.seen.key_pair = Lookup::Absent, |world| {
            drop(world.seen.key_pair.present_mut().unwrap().tags.remove("team"))
        }],
        vec![
            whole,
            |world| {
                world.seen.role = Lookup::Absent;
                world.served.clear();
            },
            |world| world.seen.role.present_mut().unwrap().policy = None,
            |world| spoil_role(world, |role| role.profile = None),
            |world| spoil_role(world, |role| role.profile.as_mut().unwrap().holds_role = false),
            |world| {
                spoil_role(world, |role| {
                    let profile = role.profile.as_mut().unwrap();
                    (profile.holds_role, profile.others) = (false, vec!["theirs".into()]);
                });
            },
            |world| {
                spoil_role(world, |role| {
                    (role.role, role.policy) = (None, None);
                    role.profile.as_mut().unwrap().holds_role = false;
                });
            },
            |world| drop(world.seen.role.present_mut().unwrap().profile.as_mut().unwrap().tags.remove("team")),
        ],
        vec![
            whole,
            |world| world.seen.token = Lookup::Absent,
            |world| world.seen.token.present_mut().unwrap().version = 7,
            |world| {
                // Deleted and made anew while the instance knows a higher version.
                world.current().tell(Orders { token: Some(9), ..Orders::default() });
            },
        ],
        vec![whole, |world| world.store = Store::default(), |world| world.store.releases.clear(), |world| {
            world.store.bucket.as_mut().unwrap().closed = false
        }],
        vec![
            whole,
            |world| world.seen.instances.clear(),
            |world| world.current().phase = Phase::Stopped,
            |world| world.current().phase = Phase::Dying,
            |world| {
                world.current().profile = None;
                world.served.clear();
            },
            |world| world.current().metadata = false,
            |world| drop(world.current().tags.insert(names::TAG_SPEC.into(), "another".into())),
            |world| world.current().forget(|orders| orders.release = None),
            // Another release is to run and runs, or is to run and does not.
            |world| {
                world.current().tell(to_run(BEFORE));
                says(world, BEFORE);
            },
            |world| {
                world.current().tell(Orders { previous: Some(BEFORE.into()), ..to_run(BROKEN) });
                says(world, BEFORE);
            },
            |world| world.current().forget(|orders| orders.token = None),
            |world| drop(world.current().tags.remove("team")),
            |world| {
                let mut second = world.current().clone();
                second.id = "i-second".into();
                world.seen.instances.push(second);
            },
            // A replacement that was killed after the launch.
            |world| {
                let mut new = world.current().clone();
                world.current().tags.insert(names::TAG_SPEC.into(), "another".into());
                (new.id, new.profile, new.launched) = ("i-fresh".into(), None, 2);
                world.seen.instances.insert(0, new);
            },
            // The same for a newer image.
            |world| {
                let mut new = world.current().clone();
                world.seen.image = Some("ami-2".into());
                (new.id, new.image, new.profile, new.launched) = ("i-fresh".into(), "ami-2".into(), None, 2);
                world.seen.instances.insert(0, new);
            },
        ],
        vec![
            whole,
            |world| world.seen.addresses.clear(),
            |world| (world.seen.addresses[0].instance, world.seen.addresses[0].association) = (None, None),
            |world| world.seen.addresses[0].instance = Some("i-of-somebody".into()),
            |world| world.seen.addresses.push(elastic("eipalloc-2", None, Tags::new())),
        ],
    ]
}

/// Every combination of everything's states, each state of the first kind in a thread of its own.
pub fn every(visit: &(dyn Fn(&World) + Sync)) {
    pub fn spoil(ways: &[Ways], world: World, visit: &dyn Fn(&World)) {
        let Some((first, rest)) = ways.split_first() else { return visit(&world.looked()) };
        for way in first {
            let mut world = world.clone();
            way(&mut world);
            spoil(rest, world, visit);
        }
    }
    // The address last: it may lead to an instance that is gone.
    let ways = ways();
    let (first, rest) = ways.split_first().unwrap();
    std::thread::scope(|scope| {
        for way in first {
            scope.spawn(|| {
                let mut world = World::complete();
                way(&mut world);
                spoil(rest, world, visit);
            });
        }
    });
}

/// Any of the ways at once, several of one thing too, and whether the bucket is looked at before the plan is made.
pub fn spoilt() -> impl Strategy<Value = World> {
    let ways = ways().map(|ways| (0..ways.len()).prop_map(move |pick| ways[pick]));
    (ways, any::<bool>()).prop_map(|(ways, looked)| {
        let mut world = World::complete();
        ways.iter().for_each(|way| way(&mut world));
        let mut world = world.looked();
        if !looked {
            world.seen.store = None;
        }
        world
    })
}
