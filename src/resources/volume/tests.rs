//! Which of several volumes counts, and what differs.

use super::*;

fn volume(id: &str, made: i64, holder: Option<&str>) -> State {
    let attachment = holder.map(|id| Attachment { instance: id.into(), complete: true, busy: false });
    let tags = Tags::from([(names::TAG_DATA.into(), CURRENT.into())]);
    State { id: id.into(), gib: 10, zone: "a".into(), phase: Phase::Available, attachment, made, tags }
}

fn of(volumes: Vec<State>) -> Observed {
    Observed { volumes: Some(volumes).into(), ..Observed::default() }
}

#[test]
fn of_several_volumes_an_attached_one_counts_then_the_oldest() {
    let kept = |volumes| kept(&of(volumes)).map(|volume| volume.id.clone());
    assert_eq!(kept(Vec::new()), None);
    assert_eq!(kept(vec![volume("vol-2", 2, None), volume("vol-1", 1, None)]).unwrap(), "vol-1");
    assert_eq!(kept(vec![volume("vol-1", 1, None), volume("vol-2", 2, Some("i-1"))]).unwrap(), "vol-2");
    let deleting = State { phase: Phase::Deleting, ..volume("vol-1", 1, None) };
    let old = State { tags: Tags::from([(names::TAG_DATA.into(), "old".into())]), ..volume("vol-0", 0, None) };
    assert_eq!(kept(vec![deleting, old, volume("vol-2", 2, None)]).unwrap(), "vol-2");
    assert_eq!(super::kept(&Observed::default()), None);
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let tags = Tags::from([(names::TAG_DATA.into(), CURRENT.into())]);
    let have = volume("vol-1", 1, None);
    assert!(matches!(diff(10, &tags, None).unwrap().change, Change::Create { gib: 10, .. }));
    assert_eq!(diff(10, &tags, Some(&have)), None);
    assert_eq!(diff(9, &tags, Some(&have)), None, "the check before refuses it");
    let grown = diff(11, &tags, Some(&have)).unwrap();
    assert_eq!(grown.reasons, ["it grows from 10 to 11 GiB"]);
    assert_eq!(grown.change, Change::Update { id: "vol-1".into(), grow: Some(11), tags: Tags::new() });
}
