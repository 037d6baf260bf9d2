//! `doctor`: its checks, and that it changes nothing.

mod quotas;

use std::os::unix::fs::PermissionsExt;

use aws_sdk_ec2::types::InternetGatewayBlockMode;
use serde_json::Value;

use crate::console::{aws, connect, fault};
use crate::project::{Project, Ran};
use crate::snapshot;

/// A project with a sandbox where nothing boots.
fn account() -> Project {
    Project::unbooted()
}

/// Removes what differs between machines.
fn told(text: &str) -> String {
    let plain = [
        (r"\bvpc-[0-9a-f]+", "vpc-[id]"),
        (r"(uv +)(uv \d.*|not installed; .*)", "${1}[version]"),
        (r"process as ami-\w+", "process as ami-[id]"),
    ];
    plain.iter().fold(text.to_owned(), |text, (pattern, word)| {
        regex::Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned()
    })
}

fn json(ran: &Ran) -> Value {
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["v"], 1);
    json
}

/// The check with that name.
#[track_caller]
fn check(json: &Value, what: &str) -> Value {
    let checks = json["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["what"] == what);
    found.unwrap_or_else(|| panic!("{what} is missing in {json:#}")).clone()
}

/// The names of the failed checks.
fn amiss(json: &Value) -> Vec<String> {
    let checks = json["checks"].as_array().unwrap().iter().filter(|check| check["state"] != "pass");
    checks.map(|check| check["what"].as_str().unwrap().to_owned()).collect()
}

fn settings(project: &Project, more: &str) {
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\n{more}\n"));
}

#[test]
fn all_checks_pass_before_and_after_the_first_up() {
    let project = account();
    snapshot!(project, told(&project.run("doctor --sandbox").ok().shown()));
    let left = aws(&project, async |aws| {
        let groups = aws.ec2.describe_security_groups().send().await.unwrap().security_groups().len();
        let addresses = aws.ec2.describe_addresses().send().await.unwrap().addresses().len();
        let instances = aws.ec2.describe_instances().send().await.unwrap().reservations().len();
        let keys = aws.ec2.describe_key_pairs().send().await.unwrap().key_pairs().len();
        (groups, addresses, instances, keys)
    });
    // The default VPC has a default group.
    assert_eq!(left, (1, 0, 0, 0));
    project.ok("up --sandbox --no-wait");
    let json = json(&project.run("doctor --sandbox --json").ok());
    assert_eq!((json["ready"].as_bool(), amiss(&json)), (Some(true), vec![]));
    assert_eq!(check(&json, "addresses")["seen"], "this deployment has its Elastic IP");
    assert_eq!(check(&json, "vCPUs")["seen"], "2 of 256 in use, including this deployment");
    // Now there is a group, so the launch is checked too.
    let seen = check(&json, "permissions");
    assert!(!seen["seen"].as_str().unwrap().contains("the launch"), "{seen}");
    project.ok("down --sandbox --yes");
}

#[test]
fn without_a_deploy_yaml_the_account_is_checked() {
    let project = account();
    std::fs::remove_file(project.folder().join("deploy.yaml")).unwrap();
    snapshot!(project, told(&project.run("doctor --sandbox").code(2).shown()));
}

#[test]
fn errors_in_deploy_yaml_are_shown_as_in_other_commands() {
    let project = account();
    project.file("deploy.yaml", "name: Hello\napp:\n  path: app\n");
    let ran = project.run("doctor --sandbox --json").code(2);
    let seen = check(&json(&ran), "deploy.yaml");
    assert_eq!(seen["state"], "fail");
    assert!(seen["next"].as_str().is_some_and(|next| !next.is_empty()), "{seen}");
    assert_eq!(json(&ran)["findings"][0]["at"], "name: ".len());
    // The file is shown on the other stream.
    assert!(ran.stderr.contains("name: Hello"), "{}", ran.stderr);
    // A domain that cannot get a certificate is reported before `up` runs.
    project.file("deploy.yaml", "name: hello\napp: {path: app}\nnetwork: {allow: [10.0.0.0/8]}\n");
    let ran = on_an_account(&project, "doctor --region eu-central-1").code(2);
    ran.says("blocks Let's Encrypt").says("1 check failed");
}

/// Runs the command without `--sandbox`: the environment points it at the sandbox.
fn on_an_account(project: &Project, line: &str) -> Ran {
    let handle: Value = serde_json::from_str(&crate::console::file(project)).unwrap();
    let mut command = project.command(line);
    for (name, key) in
        [("AWS_ENDPOINT_URL", "endpoint"), ("AWS_ACCESS_KEY_ID", "access_key"), ("AWS_SECRET_ACCESS_KEY", "secret_key")]
    {
        command.env(name, handle[key].as_str().unwrap());
    }
    Ran::new(line, &command.output().unwrap())
}

#[test]
fn an_app_that_differs_from_deploy_yaml() {
    let project = account();
    std::fs::rename(project.folder().join("app/app.py"), project.folder().join("app/server.py")).unwrap();
    project.run("doctor --sandbox").code(1).says("no module app").says("next: correct app.web");
    // A requirement can contain a module of that name, which shows only after the installation.
    project.file("app/requirements.txt", "flask==3.1.2\napp==1.0\n");
    project.run("doctor --sandbox").ok().says("a requirement of that name may provide it");
    project.file("app/app.py", "import flask\n\nserver = flask.Flask(__name__)  # not app\n");
    project.run("doctor --sandbox").ok().says("app.py does not mention app");
    std::fs::remove_file(project.folder().join("app/requirements.txt")).unwrap();
    project.run("doctor --sandbox").code(2).says("has no requirements").says("for example one line: flask");
}

#[test]
fn missing_permissions_are_named() {
    let project = account();
    aws(&project, async |aws| {
        let deny = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": ["ec2:RunInstances", "iam:GetRole"], "Resource": "*"}}"#;
        aws.iam.put_user_policy().user_name("devopsctl").policy_name("no").policy_document(deny).send().await.unwrap();
    });
    let ran = project.run("doctor --sandbox").code(5);
    snapshot!(project, told(&ran.shown()));
    // `up` does not need the permissions that only `doctor` uses.
    aws(&project, async |aws| {
        let deny = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": ["ec2:DescribeAccountAttributes", "ec2:DescribeInstanceTypeOfferings"], "Resource": "*"}}"#;
        aws.iam.put_user_policy().user_name("devopsctl").policy_name("no").policy_document(deny).send().await.unwrap();
    });
    let json = json(&project.run("doctor --sandbox --json").ok());
    assert_eq!(amiss(&json), ["addresses", "type"]);
    assert_eq!(check(&json, "type")["seen"], "not checked: ec2:DescribeInstanceTypeOfferings is denied");
}

/// Conditions that an organization can require of every launch. `up` meets them, and `doctor` checks the same launch.
#[test]
fn the_dry_run_has_all_parameters_of_the_launch() {
    let project = account();
    aws(&project, async |aws| {
        let statement = |key: &str, value: &str, kind: &str| {
            format!(
                r#"{{"Effect":"Deny","Action":"ec2:RunInstances","Resource":"arn:aws:ec2:*:*:{kind}/*","Condition":{{"StringEquals":{{"{key}":"{value}"}}}}}}"#
            )
        };
        let imds = statement("ec2:MetadataHttpTokens", "optional", "instance");
        let disk = statement("ec2:Encrypted", "false", "volume");
        let deny = format!(r#"{{"Version":"2012-10-17","Statement":[{imds},{disk}]}}"#);
        aws.iam.put_user_policy().user_name("devopsctl").policy_name("no").policy_document(deny).send().await.unwrap();
    });
    project.ok("up --sandbox --no-wait");
    project.run("doctor --sandbox").ok().says("none denied");
    project.ok("down --sandbox --yes");
}

#[test]
fn a_region_without_a_default_vpc_or_with_blocked_public_access() {
    let project = account();
    let block = |mode: InternetGatewayBlockMode| {
        aws(&project, async |aws| {
            let request = aws.ec2.modify_vpc_block_public_access_options().internet_gateway_block_mode(mode);
            request.send().await.unwrap();
        });
    };
    block(InternetGatewayBlockMode::BlockIngress);
    let said = project.run("doctor --sandbox").code(1);
    said.says("VPC Block Public Access (block-ingress) blocks").says("1 check failed");
    block(InternetGatewayBlockMode::Off);
    project.ok("doctor --sandbox");
    let subnet = aws(&project, async |aws| {
        for subnet in aws.ec2.describe_subnets().send().await.unwrap().subnets() {
            aws.ec2.delete_subnet().subnet_id(subnet.subnet_id().unwrap()).send().await.unwrap();
        }
        for vpc in aws.ec2.describe_vpcs().send().await.unwrap().vpcs() {
            aws.ec2.delete_vpc().vpc_id(vpc.vpc_id().unwrap()).send().await.unwrap();
        }
        let vpc = aws.ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
        connect(&aws, &vpc).await;
        // Not every zone offers every type.
        let subnet = aws.ec2.create_subnet().vpc_id(vpc).cidr_block("10.9.0.0/24").availability_zone("us-east-1a");
        let subnet = subnet.send().await.unwrap();
        subnet.subnet.unwrap().subnet_id.unwrap()
    });
    snapshot!(project, told(&project.run("doctor --sandbox").code(1).shown()));
    settings(&project, &format!("network: {{subnet: {subnet}}}"));
    project.run("doctor --sandbox").ok().says(&subnet);
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace(&subnet, "subnet-00000000"));
    project.run("doctor --sandbox").code(1).says("correct network.subnet");
}

#[test]
fn an_instance_type_that_the_subnets_zone_lacks() {
    let project = account();
    let subnet = aws(&project, async |aws| {
        let zone = aws_sdk_ec2::types::Filter::builder().name("availability-zone").values("us-east-1e").build();
        let found = aws.ec2.describe_subnets().filters(zone).send().await.unwrap();
        found.subnets()[0].subnet_id().unwrap().to_owned()
    });
    settings(&project, &format!("network: {{subnet: {subnet}}}"));
    let json = json(&project.run("doctor --sandbox --json").code(1));
    assert_eq!(amiss(&json), ["type"]);
    assert!(check(&json, "type")["seen"].as_str().unwrap().ends_with("but the subnets are in us-east-1e"));
}

#[test]
fn without_credentials_or_a_region_the_other_checks_run() {
    let project = Project::alone().with_example();
    snapshot!(project, told(&project.run("doctor --region eu-central-1").code(5).shown()));
    let json = json(&project.run("doctor --json").code(5));
    assert_eq!(amiss(&json), ["credentials", "region"]);
    assert!(project.processes().is_empty());
}

#[test]
fn credentials_that_have_expired_or_a_region_that_is_not_enabled() {
    let project = account();
    fault(&project, "refuse?action=GetCallerIdentity&code=ExpiredToken&message=It+is+over.&status=403");
    let ran = on_an_account(&project, "doctor --region eu-central-1").code(5);
    ran.says("the AWS credentials have expired").says("aws sso login");
    // STS in a disabled region returns this error; STS in a region that is always enabled works.
    fault(&project, "refuse?action=GetCallerIdentity&code=InvalidClientTokenId&message=It+is+invalid.&status=403");
    let json = json(&on_an_account(&project, "doctor --json --region eu-central-1").code(1));
    assert_eq!(amiss(&json), ["region"]);
    assert!(check(&json, "credentials")["seen"].as_str().unwrap().ends_with(", from environment variables"));
    fault(&project, "refuse?action=DescribeSubnets&code=AuthFailure&message=not+validated&status=401");
    let json = self::json(&on_an_account(&project, "doctor --json --region eu-central-1").code(1));
    assert_eq!(amiss(&json), ["region"]);
    assert!(check(&json, "region")["next"].as_str().unwrap().contains("enable-region"));
}

#[test]
fn a_machine_without_uv_and_pip() {
    let project = account();
    // A PATH with only a python3 without pip.
    let folder = project.folder().join("bin");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("python3"), "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(folder.join("python3"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = project.command("doctor --sandbox --json");
    let output = command.env("PATH", &folder).env("XDG_CACHE_HOME", project.folder().join("cache")).output().unwrap();
    let json = json(&Ran::new("doctor", &output).code(1));
    assert_eq!(amiss(&json), ["uv"]);
    assert!(check(&json, "uv")["next"].as_str().unwrap().contains("install uv"));
}

#[test]
fn a_name_conflict_is_reported() {
    let project = account();
    aws(&project, async |aws| {
        let name = devopsctl::base::names::common("hello");
        let made = aws.ec2.create_security_group().group_name(name).description("x").send().await.unwrap();
        let id = made.group_id.unwrap();
        // Lists do not contain a new resource yet.
        while aws.ec2.describe_security_groups().group_ids(&id).send().await.is_err() {}
    });
    project.run("doctor --sandbox").code(1).says("does not belong to this deployment").says("choose another name");
}

#[test]
fn the_app_is_imported_with_the_projects_python() {
    let project = account();
    let python = std::process::Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = String::from_utf8(python.unwrap().stdout).unwrap();
    std::fs::create_dir_all(project.folder().join(".venv/bin")).unwrap();
    std::os::unix::fs::symlink(python.trim(), project.folder().join(".venv/bin/python")).unwrap();
    let app =
        "import os\nif 'APP_SECRET_TOKEN' in os.environ:\n    print('reading', os.environ['GREETING'])\n    app = id\n";
    project.file("app/app.py", app).file("app/requirements.txt", "\n");
    let seen = check(&json(&project.run("doctor --sandbox --json").ok()), "app");
    let why = "app:app cannot be imported in .venv: KeyError: 'GREETING'";
    assert_eq!((&seen["state"], &seen["seen"]), (&"warn".into(), &why.into()));
    project.file("deploy.yaml", "name: hello\napp: {path: app, env: {GREETING: hello}}\n");
    let seen = check(&json(&project.run("doctor --sandbox --json").ok()), "app");
    assert_eq!(seen["state"], "pass");
    let words = seen["seen"].as_str().unwrap();
    assert!(
        words.starts_with("app:app can be imported by Python 3.") && words.ends_with(" of .venv; requirements.txt"),
        "{words}"
    );
    assert!(!project.folder().join("app/__pycache__").exists());
}
