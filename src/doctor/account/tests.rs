use super::super::State;
use super::*;
use crate::config;

fn error(code: &str) -> ApiError {
    ApiError { action: "ec2:DescribeSubnets", code: code.into(), message: "no".into(), status: Some(403) }
}

fn deployment() -> Deployment {
    config::named("hello").unwrap()
}

fn identity() -> Result<Identity> {
    Ok(Identity { account: "123456789012".into(), partition: "aws".into(), by: "ann".into() })
}

fn subnets(free: &[i32]) -> Result<Vec<Subnet>, ApiError> {
    Ok(free.iter().map(|free| Subnet { vpc: "vpc-1".into(), free: *free }).collect())
}

#[test]
fn credentials_that_end_within_the_hour_are_a_warning() {
    let end = |minutes: u64| End { left: Duration::from_secs(minutes * 60), words: "14:30".into() };
    assert_eq!(credentials(&identity(), None).seen, "ann in account 123456789012");
    assert_eq!(credentials(&identity(), Some(&end(61))).state, State::Pass);
    assert_eq!(credentials(&identity(), Some(&end(59))).state, State::Warn);
}

#[test]
fn a_region_that_is_not_enabled_is_told_from_one_that_refuses() {
    assert!(enabled("ap-east-1", Some(&error("AuthFailure"))).next.unwrap().contains("enable-region"));
    assert!(enabled("eu-west-9", Some(&error(""))).is_failed());
    assert_eq!(enabled("eu-west-1", Some(&error("UnauthorizedOperation"))).state, State::Pass);
}

#[test]
fn a_network_needs_a_subnet_with_room_and_a_way_out() {
    let state = |free: &[i32], mode: &str| {
        network(&deployment().network, "eu-west-1", &subnets(free), &Ok(mode.to_owned())).state
    };
    let fails = State::Fail(Exit::Failed);
    assert_eq!(state(&[0, 7], "off"), State::Pass);
    assert_eq!(state(&[], "off"), fails);
    assert_eq!(state(&[0], "off"), fails);
    assert_eq!(state(&[7], "block-ingress"), fails);
    assert_eq!(state(&[7], "block-bidirectional"), fails);
}

#[test]
fn who_may_not_look_at_subnets_is_stopped_only_where_one_is_named() {
    let denied = || Err(error("UnauthorizedOperation"));
    let mut wanted = deployment().network;
    assert_eq!(network(&wanted, "eu-west-1", &denied(), &Ok("off".into())).state, State::Warn);
    wanted.subnet = Some("subnet-1".into());
    assert_eq!(network(&wanted, "eu-west-1", &denied(), &Ok("off".into())).state, State::Fail(Exit::Denied));
}

#[test]
fn a_full_quota_is_in_the_way_of_who_has_no_address_yet() {
    let state = |have, limit| addresses(&deployment().network, &Ok(limit), &Ok(have)).unwrap().state;
    assert_eq!(state((4, 0), Some(5)), State::Pass);
    assert_eq!(state((5, 0), Some(5)), State::Fail(Exit::Failed));
    assert_eq!(state((5, 1), Some(5)), State::Pass);
    assert_eq!(state((9, 0), None), State::Pass);
    let mut network = deployment().network;
    network.static_ip = false;
    assert_eq!(addresses(&network, &Ok(Some(0)), &Ok((0, 0))), None);
}

#[test]
fn a_type_must_be_there_and_of_the_images_architecture() {
    let target = Target::Image { python: "3.13", platform: "aarch64-manylinux_2_40" };
    let state = |architecture: &str, free| {
        let kind = Kind { architectures: vec![architecture.to_owned()], free };
        instance_type("x1.y", "eu-west-1", &target, &Ok(Some(kind))).state
    };
    assert_eq!(state("arm64", true), State::Pass);
    assert_eq!(state("arm64", false), State::Warn);
    assert_eq!(state("x86_64", true), State::Fail(Exit::Failed));
    assert!(instance_type("x1.y", "eu-west-1", &target, &Ok(None)).is_failed());
}
