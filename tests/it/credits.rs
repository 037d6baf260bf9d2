//! CPU credits: a burstable instance boots with all the processor it wants, and costs no more than its type once the app is
//! healthy.

use crate::console::{aws, fault};
use crate::drift::{id, mended};
use crate::project::Project;

/// What EC2 holds of the instance; none where its type has no credits.
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

/// Instances that never boot, of these settings.
fn unbooted(instance: &str) -> Project {
    let project = Project::unbooted();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{{instance}}}\n"));
    project.ok("up --sandbox --no-wait");
    project
}

#[test]
fn they_are_unlimited_until_the_app_is_healthy_and_standard_from_then_on() {
    let project = Project::example();
    project.ok("up --sandbox --no-wait");
    assert_eq!(mode(&project).as_deref(), Some("unlimited"));
    // What fails costs cents, and the next `up` mends it: the app serves.
    fault(&project, "refuse?action=ModifyInstanceCreditSpecification&code=UnauthorizedOperation&message=no&times=1");
    project.run("up --sandbox").ok().says("warning: the CPU credits of i-");
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
fn they_are_what_deploy_yaml_says_from_the_beginning_and_after_a_change_by_hand() {
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
fn an_instance_that_has_none_is_not_asked_about_them() {
    // Its name begins with a t, too.
    for kind in ["m5.large", "trn1.2xlarge"] {
        let project = unbooted(&format!("type: {kind}, cpu_credits: standard"));
        assert_eq!(mode(&project), None);
        project.run("plan --sandbox").ok().says("already up to date");
        project.ok("down --sandbox --yes");
    }
}
