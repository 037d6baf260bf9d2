use super::*;

fn whole() -> State {
    State { policy: Some(Document::from(&policy("aws", "123456789012", "eu-west-1"))), closed: true }
}

#[test]
fn a_complete_bucket_is_kept_and_others_are_repaired() {
    let policy = Document::from(&policy("aws", "123456789012", "eu-west-1"));
    let diff = |state: Option<State>| diff(&policy, state.as_ref());
    assert_eq!(diff(Some(whole())), None);
    let reasons = |state: Option<State>| diff(state).unwrap().reasons;
    assert_eq!(reasons(None), ["does not exist"]);
    assert_eq!(reasons(Some(State { closed: false, ..whole() })), ["public access is not blocked"]);
    assert_eq!(reasons(Some(State { policy: None, ..whole() })), ["its policy is missing or was changed"]);
}
