//! The app's role: from every state that it can be found in, combined with the states of what it is connected to.

use std::collections::BTreeSet;

use super::account::*;
use super::fixtures::*;
use super::states::{self, Ways};
use super::*;
use crate::config::{Deployment, Permissions, PolicyFile};
use crate::resources::app_role::{self, Change as RoleChange, State};

const MANAGED: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

/// The deployment, with permissions for its app.
fn permitted() -> Deployment {
    let document = serde_json::json!({"Version": "2012-10-17", "Statement": []});
    let policy = Some(PolicyFile { file: "policy.json".into(), document });
    let mut deployment = deployment();
    deployment.app.permissions = Some(Permissions { policy, managed: BTreeSet::from([MANAGED.to_owned()]) });
    deployment
}

impl Account {
    /// Applies a change of the app's role.
    pub fn app_role(&mut self, change: RoleChange) {
        let RoleChange::Ensure(ensure) = change else {
            assert!(self.seen.app_role.present().is_some());
            self.seen.app_role = Lookup::Absent;
            return;
        };
        assert_eq!(ensure.create, self.seen.app_role.present().is_none());
        let trust = || ensure.trust.clone().expect("a new role needs its trust policy");
        let state = self.seen.app_role.stand(|| State {
            tags: Tags::new(),
            boundary: None,
            trust: trust(),
            policy: None,
            inline: BTreeSet::new(),
            attached: BTreeSet::new(),
            made: 0,
        });
        state.trust = ensure.trust.clone().unwrap_or_else(|| state.trust.clone());
        state.inline = &state.inline - &ensure.remove;
        if ensure.policy.is_some() {
            state.inline.insert(names::app_role("hello", REGION));
            state.policy = ensure.policy;
        }
        state.attached = &(&state.attached - &ensure.detach) | &ensure.attach;
        state.tags.extend(ensure.tags);
    }
}

fn ways() -> Ways {
    vec![
        |_| {},
        |account| account.seen.app_role = Lookup::Absent,
        |account| account.seen.app_role.present_mut().unwrap().trust = POLICIES.role.clone(),
        |account| {
            let role = account.seen.app_role.present_mut().unwrap();
            (role.policy, role.inline) = (None, BTreeSet::from(["more".to_owned()]));
        },
        |account| account.seen.app_role.present_mut().unwrap().attached = BTreeSet::from(["theirs".to_owned()]),
        |account| drop(account.seen.app_role.present_mut().unwrap().tags.remove("team")),
    ]
}

/// Each state of the role with each state of the instance and of its own role: `up` completes it, `up` without the key removes it,
/// and `down` leaves nothing.
#[test]
fn it_is_completed_and_removed_from_every_state() {
    let (with, without) = (permitted(), deployment());
    let mut complete = Account::complete();
    complete.run(up(&spec(&with), &complete.seen));
    assert_eq!(up(&spec(&with), &complete.seen).steps, []);
    let [_, _, role, _, _, _, instance, _] = states::ways();
    for (app, role, instance) in all(&ways(), &role, &instance) {
        let mut before = complete.clone();
        app(&mut before);
        role(&mut before);
        instance(&mut before);
        let before = before.looked();
        for deployment in [&with, &without] {
            let mut account = before.clone();
            account.run(up(&spec(deployment), &account.seen));
            let mut account = account.looked();
            assert!(up(&spec(deployment), &account.seen).is_empty(), "after\n{before:?}");
            let wanted = deployment.app.permissions.is_some();
            assert_eq!(account.seen.app_role.present().is_some(), wanted, "after\n{before:?}");
            account.run(down(&account.seen));
            assert!(account.seen.nothing(), "{:?}", account.seen);
        }
    }
}

type Way = fn(&mut Account);

fn all<'a>(a: &'a Ways, b: &'a Ways, c: &'a Ways) -> impl Iterator<Item = (Way, Way, Way)> + 'a {
    a.iter().flat_map(move |a| b.iter().flat_map(move |b| c.iter().map(move |c| (*a, *b, *c))))
}

/// The new release needs the credentials, and the old one may need them until then.
#[test]
fn the_role_is_there_before_the_orders_and_goes_after_them() {
    let with = permitted();
    let mut account = Account::complete();
    account.current().tell(to_run(BEFORE));
    let plan = up(&spec(&with), &account.seen);
    let needs = |plan: &Plan, id: &Id| plan.steps.iter().find(|step| step.id == *id).unwrap().needs.clone();
    assert!(needs(&plan, &orders::ID).contains(&app_role::ID), "{plan:?}");
    account.run(plan);
    account.current().tell(to_run(BEFORE));
    let plan = up(&spec(&deployment()), &account.seen);
    assert_eq!(needs(&plan, &app_role::ID), [orders::ID, Id::of(Kind::HealthGate)]);
}

#[test]
fn a_change_of_the_policy_is_one_step() {
    let mut account = Account::complete();
    account.run(up(&spec(&permitted()), &account.seen));
    let mut other = permitted();
    let permissions = other.app.permissions.as_mut().unwrap();
    permissions.policy.as_mut().unwrap().document["Statement"] = serde_json::json!([{"Effect": "Deny"}]);
    let plan = up(&spec(&other), &account.seen);
    assert_eq!(plan.steps.iter().map(|step| &step.id).collect::<Vec<_>>(), [&app_role::ID]);
    assert_eq!(plan.steps[0].reasons, ["its policy differs from policy.json"]);
    assert!(!plan.steps[0].action.is_destructive());
}
