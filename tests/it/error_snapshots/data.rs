//! Errors about the data volume.

use aws_sdk_ec2::types::{Filter, Placement};

use super::account::{Account, instance};
use crate::console::fault;

#[test]
#[ignore = "slow"]
fn data_that_cannot_be_as_wanted() {
    let account = Account::start();
    account.deploy("data: {path: /data}");
    account.run("up --no-wait").ok();
    account.deploy("data: {path: /data, gib: 5}");
    account.shown("a_volume_that_cannot_shrink", "up --no-wait", 1);
    account.shown("another_name_for_the_data", "down --yes --delete-data shop", 2);
    account.deploy("data: {path: /data, gib: 20}");
    fault(
        &account.project,
        "refuse?action=ModifyVolume&code=VolumeModificationRateExceeded&message=You%27ve+reached+the+maximum+modification+rate+per+volume+limit.",
    );
    account.shown("a_volume_that_grew_too_often", "up --no-wait", 1);
    account.console(async |aws| {
        let ours = instance(&aws).await;
        let found = aws.ec2.describe_instances().instance_ids(ours).send().await.unwrap();
        let ours = &found.reservations()[0].instances()[0];
        let zone = ours.placement().and_then(Placement::availability_zone).unwrap();
        let marked = Filter::builder().name("tag-key").values("devopsctl:data").build();
        let volume = aws.ec2.describe_volumes().filters(marked).send().await.unwrap();
        let volume = volume.volumes()[0].volume_id().unwrap();
        let launch = aws.ec2.run_instances().image_id(ours.image_id().unwrap()).min_count(1).max_count(1);
        let launched = launch.placement(Placement::builder().availability_zone(zone).build()).send().await.unwrap();
        let foreign = launched.instances()[0].instance_id().unwrap();
        aws.ec2.detach_volume().volume_id(volume).send().await.unwrap();
        let attach = aws.ec2.attach_volume().volume_id(volume).instance_id(foreign).device("/dev/sdf");
        attach.send().await.unwrap();
    });
    account.shown("a_volume_that_is_attached_elsewhere", "up --no-wait", 1);
}
