//! Resources of others: with our name and without our tag, or of another deployment. They are named if they conflict, and they
//! never change.

use std::sync::Arc;

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use aws_sdk_ssm::types::{ParameterType, ResourceTypeForTagging};
use futures_util::future::BoxFuture;

use crate::Cell;
use crate::account::{Account, NAME};
use crate::inventory::{Inventory, Wanted, inventory};
use crate::scenario::{Outcome, Scenario, down, ended, ended_well, goes_away, is_settled, set_token, up};

const COMMON: &str = "devopsctl-hello";
const ROLE: &str = "devopsctl-hello-us-east-1";
const APP_ROLE: &str = "devopsctl-hello-us-east-1-app";
const TOKEN: &str = "/devopsctl/hello/token";
const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

type Test = fn(Arc<Account>) -> BoxFuture<'static, Outcome>;

const TESTS: [(&str, &str, Test); 14] = [
    ("security group", "foreign", |account| Box::pin(in_the_way(account, Kind::Group))),
    ("key pair", "foreign", |account| Box::pin(in_the_way(account, Kind::Key))),
    ("role", "foreign", |account| Box::pin(in_the_way(account, Kind::Role))),
    ("app role", "foreign", |account| Box::pin(in_the_way(account, Kind::AppRole))),
    ("instance profile", "foreign", |account| Box::pin(in_the_way(account, Kind::Profile))),
    ("parameter", "foreign", |account| Box::pin(in_the_way(account, Kind::Parameter))),
    ("security group", "tag taken away", |account| Box::pin(untagged(account, Kind::Group))),
    ("key pair", "tag taken away", |account| Box::pin(untagged(account, Kind::Key))),
    ("parameter", "tag taken away", |account| Box::pin(untagged(account, Kind::Parameter))),
    ("secret", "set by hand", |account| Box::pin(secret_by_hand(account))),
    ("instance", "foreign", |account| Box::pin(beside(account, Kind::Instance))),
    ("address", "foreign", |account| Box::pin(beside(account, Kind::Address))),
    ("objects in the bucket", "foreign", |account| Box::pin(bucket_in_use(account))),
    ("another deployment", "foreign", |account| Box::pin(two_deployments(account))),
];

/// The cells. All of them always run.
pub fn cells() -> Vec<Cell> {
    let cells = TESTS.iter().map(|(row, column, test)| Cell {
        table: "not ours".to_owned(),
        row: (*row).to_owned(),
        column,
        work: Box::new(|account| test(account)),
    });
    cells.collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Group,
    Key,
    Role,
    AppRole,
    Profile,
    Parameter,
    Instance,
    Address,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Group | Kind::Key | Kind::Instance | Kind::Address => COMMON,
            Kind::Role | Kind::Profile => ROLE,
            Kind::AppRole => APP_ROLE,
            Kind::Parameter => TOKEN,
        }
    }

    /// Creates a resource with our name and without our tag.
    async fn make(self, account: &Account) {
        let (ec2, iam, ssm) = (&account.aws.ec2, &account.aws.iam, &account.aws.ssm);
        match self {
            Kind::Group => {
                let made = ec2.create_security_group().group_name(COMMON).description("of another owner").send().await;
                made.map(drop).unwrap();
            }
            Kind::Key => ec2.create_key_pair().key_name(COMMON).send().await.map(drop).unwrap(),
            Kind::Role | Kind::AppRole => {
                let made = iam.create_role().role_name(self.name()).assume_role_policy_document(TRUST).send().await;
                made.map(drop).unwrap();
            }
            Kind::Profile => {
                iam.create_instance_profile().instance_profile_name(ROLE).send().await.map(drop).unwrap();
            }
            Kind::Parameter => {
                let put = ssm.put_parameter().name(TOKEN).r#type(ParameterType::String).value("foreign");
                put.send().await.map(drop).unwrap();
            }
            Kind::Instance => {
                let images = ec2.describe_images().send().await.unwrap();
                let image = images.images()[0].image_id().unwrap_or_default();
                let launch = ec2.run_instances().image_id(image).min_count(1).max_count(1);
                launch.tag_specifications(named(ResourceType::Instance)).send().await.map(drop).unwrap();
            }
            Kind::Address => {
                let made = ec2.allocate_address().tag_specifications(named(ResourceType::ElasticIp)).send().await;
                made.map(drop).unwrap();
            }
        }
    }

    /// Removes our tag from an existing resource.
    async fn untag(self, account: &Account, found: &Inventory) {
        let ours = Tag::builder().key("devopsctl:name").build();
        let id = match self {
            Kind::Group => found.groups[0].id.clone(),
            Kind::Key => {
                let keys = account.aws.ec2.describe_key_pairs().send().await.unwrap();
                keys.key_pairs()[0].key_pair_id().unwrap_or_default().to_owned()
            }
            _ => {
                let untag = account.aws.ssm.remove_tags_from_resource().resource_id(TOKEN).tag_keys("devopsctl:name");
                untag.resource_type(ResourceTypeForTagging::Parameter).send().await.unwrap();
                return;
            }
        };
        account.aws.ec2.delete_tags().resources(id).tags(ours).send().await.unwrap();
    }
}

/// The `Name` of our resources without our tag.
fn named(kind: ResourceType) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).tags(Tag::builder().key("Name").value(COMMON).build()).build()
}

fn same(before: &Inventory, after: &Inventory, when: &str) -> Outcome {
    if before == after { Ok(()) } else { Err(format!("{when}\n{before:?}\nbecame\n{after:?}")) }
}

fn says(said: &str, words: &str) -> Outcome {
    // The output is wrapped to the width of a terminal.
    let plain = |text: &str| text.split_whitespace().filter(|word| *word != "│").collect::<String>();
    if plain(said).contains(&plain(words)) { Ok(()) } else { Err(format!("{words:?} is missing in:\n{said}")) }
}

/// The resource has a unique name.
async fn in_the_way(account: Arc<Account>, kind: Kind) -> Outcome {
    account.reset().await;
    kind.make(&account).await;
    let before = inventory(&account.aws).await;
    let ran = account.run(up(NAME), None).await;
    ended(&ran, "up", 1)?;
    says(&ran.said, kind.name())?;
    says(&ran.said, "does not belong to this deployment")?;
    same(&before, &inventory(&account.aws).await, "by up")?;
    if kind == Kind::Parameter {
        let ran = account.run(set_token(NAME, "an-unused-token"), None).await;
        ended(&ran, "set-token", 1)?;
        same(&before, &inventory(&account.aws).await, "by set-token")?;
    }
    let ran = account.run(down(NAME), None).await;
    ended_well(&ran, "down")?;
    says(&ran.said, "does not belong to this deployment and is not deleted")?;
    same(&before, &inventory(&account.aws).await, "by down")
}

/// The resource was taken over by another owner.
async fn untagged(account: Arc<Account>, kind: Kind) -> Outcome {
    Scenario::Down.prepare(&account).await?;
    let found = inventory(&account.aws).await;
    kind.untag(&account, &found).await;
    let before = inventory(&account.aws).await;
    let ran = account.run(up(NAME), None).await;
    ended(&ran, "up", 1)?;
    says(&ran.said, kind.name())?;
    says(&ran.said, "does not belong to this deployment")?;
    same(&before, &inventory(&account.aws).await, "by up")?;
    ended_well(&account.run(down(NAME), None).await, "down")?;
    let mut left = Inventory::default();
    match kind {
        Kind::Group => left.groups = before.groups,
        Kind::Key => left.key_pairs = before.key_pairs,
        _ => left.parameters = before.parameters,
    }
    same(&left, &inventory(&account.aws).await, "what should be left, after down")
}

/// The path is only for the deployment's secrets: one that was set in the console is ours without a tag.
async fn secret_by_hand(account: Arc<Account>) -> Outcome {
    account.stand().await?;
    let put = account.aws.ssm.put_parameter().name("/devopsctl/hello/secrets/BY_HAND").value("from the console");
    put.r#type(ParameterType::SecureString).send().await.map(drop).unwrap();
    ended_well(&account.run(up(NAME), None).await, "up")?;
    let secrets = [("BY_HAND", "from the console")];
    inventory(&account.aws).await.holds(&[Wanted { secrets: &secrets, ..Wanted::new(NAME, "t3.micro") }])?;
    is_settled(&account).await?;
    goes_away(&account).await
}

/// The resource only looks like ours, and `up` creates its own.
async fn beside(account: Arc<Account>, kind: Kind) -> Outcome {
    account.reset().await;
    kind.make(&account).await;
    let before = inventory(&account.aws).await;
    ended_well(&account.run(up(NAME), None).await, "up")?;
    let mut found = inventory(&account.aws).await;
    found.instances.retain(|instance| !before.instances.contains(instance));
    found.addresses.retain(|address| !before.addresses.contains(address));
    found.holds(&[Wanted::new(NAME, "t3.micro")])?;
    is_settled(&account).await?;
    ended_well(&account.run(down(NAME), None).await, "down")?;
    same(&before, &inventory(&account.aws).await, "by up and down")
}

/// The bucket is shared in the account's region: objects of others and the bucket itself stay.
async fn bucket_in_use(account: Arc<Account>) -> Outcome {
    account.reset().await;
    let s3 = &account.aws.s3;
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();
    for key in ["hello2/releases/1.tar.gz", "hell", "notes.txt"] {
        s3.put_object().bucket(BUCKET).key(key).body(b"foreign".to_vec().into()).send().await.unwrap();
    }
    let before = inventory(&account.aws).await;
    ended_well(&account.run(up(NAME), None).await, "up")?;
    ended_well(&account.run(down(NAME), None).await, "down")?;
    let after = inventory(&account.aws).await;
    // Another deployment exists, so shared resources stay.
    let own = |key: &&String| !key.starts_with("_tools/");
    let objects = |inventory: &Inventory| -> Option<Vec<String>> {
        inventory.buckets.first().map(|bucket| bucket.objects.iter().filter(own).cloned().collect())
    };
    if objects(&before) != objects(&after) {
        return Err(format!("{:?} became {:?}", before.buckets, after.buckets));
    }
    Inventory { buckets: Vec::new(), ..after }.is_empty()
}

/// Two deployments in one account, created concurrently, are independent.
async fn two_deployments(account: Arc<Account>) -> Outcome {
    account.reset().await;
    account.project("other", "t3.micro");
    for ran in account.run_all(&[up(NAME), up("other")], None).await {
        ended_well(&ran, "up beside another's")?;
    }
    let [hello, other] = [NAME, "other"].map(|name| Wanted::new(name, "t3.micro"));
    let both = inventory(&account.aws).await;
    both.holds(&[hello, other.clone()])?;
    is_settled(&account).await?;
    ended_well(&account.run(down(NAME), None).await, "down")?;
    let left = inventory(&account.aws).await;
    left.holds(&[other])?;
    let theirs = both.parameters.iter().filter(|parameter| left.parameters.contains(parameter)).count();
    if theirs != 1 {
        return Err(format!("the other's token was touched: {:?}", left.parameters));
    }
    ended_well(&account.run(down("other"), None).await, "the other's down")?;
    goes_away(&account).await
}
