//! Changes of the app's secrets.

use super::account::*;
use super::fixtures::*;
use super::states::*;
use super::*;
use crate::engine::spec::missing_secrets;

#[test]
fn secrets_change_together_and_are_ordered_on_all_live_instances_once() {
    use secrets::Edit::{Delete, Write};
    every(&|before| {
        let mut account = before.clone();
        let set = BTreeMap::from([("A".to_owned(), Write), ("SESSION_KEY".into(), Write), ("ABSENT".into(), Delete)]);
        let (token, most) = (account.current_token(), usize::MAX);
        account.run_some(change_secrets(&account.seen, &set), most, &mut |_| 0);
        let stored = account.seen.secrets.present().unwrap();
        assert!(stored.contains_key("A") && stored.contains_key("SESSION_KEY") && !stored.contains_key("ABSENT"));
        let unset = BTreeMap::from([("A".to_owned(), Delete)]);
        for edits in [BTreeMap::new(), unset, BTreeMap::new()] {
            for state in instance::alive(&account.seen.instances) {
                assert_eq!(state.orders().secrets, Some(account.fingerprint()), "{account:?}");
            }
            let plan = change_secrets(&account.seen, &edits);
            assert_eq!(plan.is_empty(), edits.is_empty(), "{plan:?}");
            account.run(plan);
        }
        assert_eq!(account.current_token(), token, "the token is not ordered");
    });
}

/// A killed run has stored some of the secrets: the same command stores the rest, and orders all of them.
#[test]
fn a_killed_change_of_secrets_is_completed_by_the_next() {
    let edits = BTreeMap::from(["A", "B"].map(|name| (name.to_owned(), secrets::Edit::Write)));
    for most in 0..3 {
        let mut account = Account::complete();
        account.run_some(change_secrets(&account.seen, &edits), most, &mut |_| 0);
        // What is stored is not written again.
        let left = edits.iter().filter(|(name, _)| !account.seen.secrets.present().unwrap().contains_key(*name));
        let left = left.map(|(name, edit)| (name.clone(), *edit)).collect();
        account.run(change_secrets(&account.seen, &left));
        assert_eq!(account.seen.secrets.present().unwrap().len(), 3);
        assert_eq!(account.current().orders().secrets, Some(account.fingerprint()));
        assert!(up(&spec(&DEPLOYMENT), &account.seen).is_empty());
    }
}

#[test]
fn a_secret_that_is_not_generated_is_missing_until_it_is_set() {
    let mut deployment = deployment();
    deployment.app.secrets.insert("DATABASE_URL".into(), crate::config::SecretOrigin::Set);
    let mut account = Account::empty();
    assert_eq!(missing_secrets(&deployment, &account.seen).unwrap(), ["DATABASE_URL"]);
    account.run(change_secrets(&account.seen, &BTreeMap::from([("DATABASE_URL".into(), secrets::Edit::Write)])));
    assert_eq!(missing_secrets(&deployment, &account.seen).unwrap(), [""; 0]);
    assert!(!account.seen.nothing() && down(&account.seen).steps.len() == 1, "{:?}", account.seen);
}
