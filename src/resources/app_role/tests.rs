//! The differences between the wanted role and an existing one.

use super::*;

const READ: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
const NAME: &str = "devopsctl-hello-eu-west-1-app";
const WRITE: &str = "arn:aws:iam::123456789012:policy/write";

fn document(action: &str) -> Document {
    Document::from(
        &json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}),
    )
}

fn set(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|&one| one.to_owned()).collect()
}

fn wanted() -> Wanted {
    Wanted {
        name: NAME.into(),
        trust: Document::from(&trust("aws", "123456789012", "eu-west-1", "hello")),
        file: Some("policy.json".into()),
        policy: Some(document("s3:GetObject")),
        managed: set(&[READ]),
        boundary: Some("b".into()),
        tags: Tags::from([("team".into(), "web".into())]),
    }
}

fn whole() -> State {
    let Wanted { trust, policy, managed: attached, boundary, tags, .. } = wanted();
    State { tags, boundary, trust, policy, inline: set(&[NAME]), attached, made: 0 }
}

fn reasons(wanted: &Wanted, have: &State) -> Vec<String> {
    wanted.changes(Some(have)).map(|planned| planned.reasons).unwrap_or_default()
}

#[test]
fn a_new_role_gets_everything() {
    let wanted = wanted();
    let planned = wanted.changes(None).unwrap();
    let Change::Ensure(ensure) = planned.change else { panic!() };
    assert_eq!((planned.action, ensure.create), (Action::Create, true));
    assert_eq!((ensure.trust, ensure.policy), (Some(wanted.trust), wanted.policy));
    assert_eq!((ensure.attach, ensure.boundary, ensure.tags), (wanted.managed, wanted.boundary, wanted.tags));
}

#[test]
fn each_difference_is_a_reason_and_is_repaired() {
    assert_eq!(reasons(&wanted(), &whole()), [""; 0]);
    let other = document("s3:*");
    let surplus = "in addition to those of app.permissions";
    let cases = [
        (State { trust: other.clone(), ..whole() }, vec!["its trust policy was changed".to_owned()]),
        (State { boundary: None, ..whole() }, vec!["its permissions boundary is missing or different".into()]),
        (State { policy: Some(other), ..whole() }, vec!["its policy differs from policy.json".into()]),
        (State { policy: None, ..whole() }, vec!["its policy differs from policy.json".into()]),
        (
            State { attached: set(&[WRITE]), ..whole() },
            vec![format!("{READ} is not attached"), format!("{WRITE} is attached {surplus}")],
        ),
        (State { inline: set(&[NAME, "more"]), ..whole() }, vec![format!("it has a policy {surplus}")]),
        (State { tags: Tags::new(), ..whole() }, vec!["tag team is missing or different".into()]),
    ];
    for (have, why) in cases {
        assert_eq!(reasons(&wanted(), &have), why);
    }
    let attached = State { attached: set(&[WRITE]), inline: set(&[NAME, "more"]), ..whole() };
    let Some(Change::Ensure(ensure)) = wanted().changes(Some(&attached)).map(|planned| planned.change) else {
        panic!()
    };
    assert_eq!((ensure.attach, ensure.detach, ensure.remove), (set(&[READ]), set(&[WRITE]), set(&["more"])));
    assert_eq!((ensure.create, ensure.trust, ensure.policy, ensure.boundary), (false, None, None, None));
}

/// An administrator may have set the boundary.
#[test]
fn a_policy_that_is_no_longer_wanted_is_removed_and_a_boundary_is_not() {
    let bare = Wanted { file: None, policy: None, managed: set(&[READ, WRITE]), boundary: None, ..wanted() };
    let Some(Change::Ensure(ensure)) = bare.changes(Some(&whole())).map(|planned| planned.change) else { panic!() };
    assert_eq!((ensure.remove, ensure.attach, ensure.boundary), (set(&[NAME]), set(&[WRITE]), None));
    let kept = Wanted { boundary: None, ..wanted() };
    assert_eq!(reasons(&kept, &whole()), [""; 0]);
}

#[test]
fn only_the_instances_role_is_trusted() {
    let trust = trust("aws-us-gov", "123456789012", "us-gov-west-1", "hello");
    let statement = &trust["Statement"][0];
    assert_eq!(statement["Principal"], json!({"AWS": "arn:aws-us-gov:iam::123456789012:root"}));
    let role = "arn:aws-us-gov:iam::123456789012:role/devopsctl-hello-us-gov-west-1";
    assert_eq!(statement["Condition"], json!({"ArnEquals": {"aws:PrincipalArn": role}}));
}
