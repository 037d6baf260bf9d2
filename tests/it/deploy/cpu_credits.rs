//! CPU credits: a burstable instance is unlimited until the app is healthy, and standard afterwards.

use super::drift::{id, mended};
use crate::console::{aws, fault};
use crate::project::Project;

/// The credit mode of the instance in EC2. `None`: its type has no credits.
fn mode(project: &Project) -> Option<String> {
    aws(project, async |aws| {
        let request = aws.ec2.describe_instance_credit_specifications().instance_ids(id(&aws).await);
        let found = request.send().await.unwrap().instance_credit_specifications.unwrap_or_default();
        found.into_iter().next().and_then(|one| one.cpu_credits)
    })
}

fn set(project: &Project, mode: &str) {
    aws(project, async |aws| {
        let wanted = aws_sdk_ec2::types::InstanceCreditSpecificationRequest::builder();
        let wanted = wanted.instance_id(id(&aws).await).cpu_credits(mode).build();
        aws.ec2.modify_instance_credit_specification().instance_credit_specifications(wanted).send().await.unwrap();
    });
}

/// A project with these settings, where nothing boots.
fn unbooted(instance: &str) -> Project {
    let project = Project::unbooted();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{{instance}}}\n"));
    project.ok("up --sandbox --no-wait");
    project
}

#[test]
#[ignore = "slow"]
fn credits_are_unlimited_until_the_app_is_healthy() {
    let project = Project::example();
    project.ok("up --sandbox --no-wait");
    assert_eq!(mode(&project).as_deref(), Some("unlimited"));
    // A failure costs little, and the next `up` repairs it, because the app serves.
    fault(&project, "refuse?action=ModifyInstanceCreditSpecification&code=UnauthorizedOperation&message=no&times=1");
    project.run("up --sandbox").ok().says("warning: cannot set the CPU credits of i-");
    assert_eq!(mode(&project).as_deref(), Some("unlimited"));
    project.run("plan --sandbox").code(3).says("its CPU credits are not standard");
    project.ok("up --sandbox");
    assert_eq!(mode(&project).as_deref(), Some("standard"));
    project.run("plan --sandbox").ok().says("already up to date");
    project.ok("down --sandbox --yes");
    project.up();
    assert_eq!(mode(&project).as_deref(), Some("standard"));
    project.ok("down --sandbox --yes");
}

#[test]
fn credits_follow_deploy_yaml_also_after_a_manual_change() {
    for (wanted, other) in [("standard", "unlimited"), ("unlimited", "standard")] {
        let project = unbooted(&format!("cpu_credits: {wanted}"));
        assert_eq!(mode(&project).as_deref(), Some(wanted));
        set(&project, other);
        mended(&project, &[&format!("its CPU credits are not {wanted}")]);
        assert_eq!(mode(&project).as_deref(), Some(wanted));
        project.ok("down --sandbox --yes");
    }
}

#[test]
fn credits_of_other_types_are_not_read() {
    // Its name also starts with a t.
    for kind in ["m5.large", "trn1.2xlarge"] {
        let project = unbooted(&format!("type: {kind}, cpu_credits: standard"));
        assert_eq!(mode(&project), None);
        project.run("plan --sandbox").ok().says("already up to date");
        project.ok("down --sandbox --yes");
    }
}
