//! The data volume: it is created once, grows, moves with a replacement, and stays until the user deletes it by name.

use aws_sdk_ec2::types::Filter;
use devopsctl::aws::Aws;

use super::drift::{id, mended};
use crate::console::aws;
use crate::project::Project;

/// The example with this size of its data and this instance type.
fn with_data(project: &Project, data: &str, kind: &str) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\n{data}\ninstance: {{type: {kind}}}\n"));
}

const TEN: &str = "data: {path: /data, gib: 10}";

/// The only data volume: its id, its size and its instance.
async fn volume(aws: &Aws) -> (String, i32, Option<String>) {
    let marked = Filter::builder().name("tag-key").values("devopsctl:data").build();
    let found = aws.ec2.describe_volumes().filters(marked).send().await.unwrap();
    let [volume] = found.volumes() else { panic!("{found:?}") };
    let instance = volume.attachments().first().and_then(|one| one.instance_id()).map(str::to_owned);
    (volume.volume_id().unwrap().to_owned(), volume.size().unwrap(), instance)
}

#[test]
#[ignore = "slow"]
fn a_volume_stays_until_it_is_deleted_by_name() {
    let project = Project::unbooted();
    with_data(&project, TEN, "t3.micro");
    project.run("plan --sandbox").code(3).says("+ volume").says("disk $1.44");
    project.ok("up --sandbox --no-wait");
    project.run("plan --sandbox").ok().says("already up to date");
    let (made, gib, holder) = aws(&project, async |aws| volume(&aws).await);
    let first = aws(&project, async |aws| id(&aws).await);
    assert_eq!((gib, holder.as_ref()), (10, Some(&first)));
    project.run("status --sandbox").code(4).says(&format!("{made} (10 GiB in us-east-1a) on {first}"));

    // It grows, and never shrinks.
    with_data(&project, "data: {path: /data, gib: 9}", "t3.micro");
    project.run("up --sandbox --no-wait").code(1).says("cannot shrink from 10 to 9 GiB").says("Nothing was changed");
    with_data(&project, "data: {path: /data, gib: 12}", "t3.micro");
    mended(&project, &["it grows from 10 to 12 GiB"]);

    // Detached by hand.
    aws(&project, async |aws| {
        aws.ec2.detach_volume().volume_id(&made).send().await.unwrap();
    });
    mended(&project, &["attachment"]);

    // A replacement moves it. Its agent never reports here, so the old instance is stopped.
    with_data(&project, "data: {path: /data, gib: 12}", "t3.small");
    project.run("plan --sandbox").code(3).says("the app answers 503 for some seconds while its data moves");
    project.run("up --sandbox --no-wait --yes").ok().says("does not give the volume back; stopping it");
    project.run("plan --sandbox").ok().says("already up to date");
    let second = aws(&project, async |aws| id(&aws).await);
    assert_ne!(first, second);
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, Some(second.clone())));

    // Without data it is kept, and taken up again.
    with_data(&project, "", "t3.small");
    project.run("up --sandbox --no-wait").ok().says(&format!("the data volume {made} stays")).says("$0.96 a month");
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, None));
    with_data(&project, "data: {path: /data, gib: 12}", "t3.small");
    project.ok("up --sandbox --no-wait");
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, Some(second)));

    // `down` keeps it, whatever was answered.
    project.run("down --sandbox --yes").ok().says(&format!("the data volume {made} stays"));
    project.run("down --sandbox --yes").ok().says("has no other resources").says("--delete-data hello");
    project.run("list --sandbox").ok().says("its data still costs money").says("down --name hello --delete-data hello");
    project.run("status --sandbox").code(4).says("not deployed").says(&made);
    project.run("down --sandbox --yes --delete-data shop").code(2).says("this deployment is hello");
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, None));
    project.ok("up --sandbox --no-wait");
    assert_eq!(aws(&project, async |aws| volume(&aws).await).0, made);
    project.run("down --sandbox --yes --delete-data hello").ok().says(&format!("volume {made}: deleted"));
    project.run("list --sandbox").ok().says("no deployments");
}
