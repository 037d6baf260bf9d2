//! When things go wrong: what failed, why, what was left, what to type next. Every message is a snapshot.

use devopsctl::names;

use crate::console::{aws, fault};
use crate::project::{Project, Ran, install_emulator};
use crate::snapshot;

/// A project whose `app/app.py` is this.
fn with_app(source: &str) -> Project {
    let project = Project::example();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    // One worker: two may both say why, or only the one that was faster.
    project.file("deploy.yaml", &text.replace("  path: app\n", "  path: app\n  workers: 1\n"));
    project.file("app/app.py", source);
    project
}

/// A project with a running sandbox of its own.
fn started() -> Project {
    let project = Project::example();
    install_emulator();
    project.ok("sandbox start");
    project
}

/// The command on "a real account": the usual settings, which name the sandbox.
fn on_an_account(project: &Project, line: &str) -> Ran {
    let text = std::fs::read_to_string(project.state().join("devopsctl/sandbox/sandbox.json")).unwrap();
    let handle: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut command = project.command(line);
    for (name, key) in
        [("AWS_ENDPOINT_URL", "endpoint"), ("AWS_ACCESS_KEY_ID", "access_key"), ("AWS_SECRET_ACCESS_KEY", "secret_key")]
    {
        command.env(name, handle[key].as_str().unwrap());
    }
    Ran::new(line, &command.output().unwrap())
}

#[test]
fn no_deploy_yaml() {
    let project = Project::empty();
    snapshot!(project, project.run("up").code(2).shown());
}

#[test]
fn a_deploy_yaml_with_mistakes() {
    let project = Project::example();
    project.file("deploy.yaml", "name: Hello\napp:\n  path: ap\n  wsgi: app\nnetwork: {port: 0}\n");
    snapshot!(project, project.run("up --sandbox").code(2).shown());
}

#[test]
fn no_region() {
    let project = Project::example();
    snapshot!(project, project.run("up").code(2).shown());
}

#[test]
fn no_credentials() {
    let project = Project::example();
    snapshot!(project, project.run("up --region eu-central-1").code(5).shown());
}

#[test]
fn expired_credentials() {
    let project = started();
    for action in ["DescribeInstances", "DescribeSecurityGroups", "DescribeKeyPairs", "DescribeAddresses"] {
        fault(&project, &format!("refuse?action={action}&code=RequestExpired&message=Request+has+expired.&status=400"));
    }
    snapshot!(project, on_an_account(&project, "status --region eu-central-1").code(5).shown());
}

#[test]
fn access_denied() {
    let project = started();
    fault(
        &project,
        "refuse?action=RunInstances&code=UnauthorizedOperation&status=403&message=You+are+not+authorized+to+perform+this+operation.",
    );
    snapshot!(project, standing_aside(&project.run("up --sandbox -q").code(5).shown()));
    // The same command goes on from there.
    project.up();
}

#[test]
fn no_default_vpc() {
    let project = started();
    aws(&project, async |aws| {
        let subnets = aws.ec2.describe_subnets().send().await.unwrap();
        for subnet in subnets.subnets() {
            aws.ec2.delete_subnet().subnet_id(subnet.subnet_id().unwrap()).send().await.unwrap();
        }
        let vpcs = aws.ec2.describe_vpcs().send().await.unwrap();
        for vpc in vpcs.vpcs() {
            aws.ec2.delete_vpc().vpc_id(vpc.vpc_id().unwrap()).send().await.unwrap();
        }
    });
    snapshot!(project, standing_aside(&project.run("up --sandbox -q").code(1).shown()));
    project.ok("down --sandbox --yes");
}

/// Without how far the steps had come that ran beside the one that failed.
fn standing_aside(text: &str) -> String {
    let list = regex::Regex::new(r"(?s)Done in this run: .*?\. The\s+same\s+command").unwrap();
    list.replace(text, "Done in this run: […]. Not begun: […]. The same command").into_owned()
}

#[test]
fn no_requirements() {
    let project = Project::example();
    std::fs::remove_file(project.folder().join("app/requirements.txt")).unwrap();
    snapshot!(project, project.run("up --sandbox -q").code(2).shown());
}

#[test]
fn a_requirement_that_does_not_resolve() {
    let project = Project::example();
    project.file("app/requirements.txt", "flask==3.0.0\nno-such-package-for-devopsctl==1.0\n");
    snapshot!(project, project.run("up --sandbox -q").code(2).shown());
}

#[test]
fn an_app_that_raises_at_import() {
    let project = with_app(
        "import os\n\nif 'DATABASE_URL' not in os.environ:\n    raise LookupError('DATABASE_URL is not set')\n",
    );
    snapshot!(project, project.run("up --sandbox -q").code(4).shown());
    project.run("status --sandbox").code(4).says("LookupError: DATABASE_URL is not set");
    // Asked to try once more, it does, and says the same again.
    project.run("up --sandbox -q").code(4).says("DATABASE_URL");
}

#[test]
fn an_app_whose_health_path_answers_500() {
    let project = with_app(
        "import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get('/')\ndef index():\n    raise ValueError('no such table: users')\n",
    );
    snapshot!(project, project.run("up --sandbox -q").code(4).shown());
}

#[test]
fn an_app_that_never_answers() {
    let project = with_app("import time\n\n\ndef app(environ, start_response):\n    time.sleep(600)\n");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nhealth: {{timeout: 2}}\n"));
    snapshot!(project, project.run("up --sandbox -q").code(4).shown());
}

#[test]
fn an_app_that_answers_without_the_token() {
    let project =
        with_app("import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get('/')\ndef index():\n    return 'hi'\n");
    snapshot!(project, project.run("up --sandbox -q").code(4).shown());
}

#[test]
fn a_process_that_dies_at_once() {
    let project = with_app("import os\n\nprint('I am not feeling well')\nos._exit(9)\n");
    let ran = project.run("up --sandbox -q").code(4);
    assert!(ran.stderr.contains("a worker ended before it could answer"), "{}", ran.stderr);
    assert!(ran.stderr.contains("I am not feeling well"), "{}", ran.stderr);
}

#[test]
fn a_gunicorn_that_cannot_start() {
    let project = Project::example();
    project.file("app/requirements.txt", "flask==3.1.2\ngunicorn==19.10.0\n");
    let ran = project.run("up --sandbox -q").code(4);
    assert!(ran.stderr.contains("gunicorn ended before it was ready"), "{}", ran.stderr);
}

#[test]
fn a_resource_of_our_name_that_is_not_ours() {
    let project = started();
    let group = aws(&project, async |aws| {
        let name = names::common("hello");
        let made =
            aws.ec2.create_security_group().group_name(name).description("of somebody else").send().await.unwrap();
        let id = made.group_id.unwrap();
        // What was just made is in no list yet.
        while aws.ec2.describe_security_groups().group_ids(&id).send().await.is_err() {}
        id
    });
    snapshot!(project, project.run("up --sandbox -q").code(1).shown());
    project.run("down --sandbox --yes").ok().says("not ours and is left alone");
    aws(&project, async |aws| {
        let found = aws.ec2.describe_security_groups().group_ids(&group).send().await.unwrap();
        assert_eq!(found.security_groups().len(), 1);
    });
}

#[test]
fn tokens_that_are_refused() {
    let project = Project::example();
    for (token, why) in [
        ("", "is empty"),
        ("two words here", "white space"),
        ("tab\tin the middle", "white space"),
        ("bell\u{7}bell-bell-bell", "not plain ASCII"),
        ("schlüssel-schlüssel", "not plain ASCII"),
        ("tiny-pass", "shorter than 12"),
    ] {
        let ran = project.run_with("set-token --sandbox --stdin", token).code(2).says(why);
        assert!(token.is_empty() || !ran.stderr.contains(token), "{}", ran.stderr);
    }
    project.run_with("set-token --sandbox --stdin", &"x".repeat(257)).code(2).says("longer than 256");
    // Nothing was called: there is not even a sandbox.
    assert!(project.processes().is_empty());
}

#[test]
fn questions_without_a_terminal_are_answered_no() {
    let project = Project::example();
    snapshot!(project, project.run("set-token --sandbox").code(2).shown());
    project.up();
    snapshot!(project, project.run("down --sandbox -q").code(2).shown());
    project.ok("status --sandbox");
}

#[test]
fn nothing_deployed_yet() {
    let project = started();
    snapshot!(project, project.run("token --sandbox").code(1).shown());
}

/// A start of the sandbox on a machine that lacks something.
fn start_without(project: &Project, settings: &[(&str, &std::path::Path)]) -> Ran {
    let mut command = project.command("sandbox start");
    command.envs(settings.iter().copied());
    Ran::new("sandbox start", &command.output().unwrap())
}

#[test]
fn no_python() {
    let project = Project::empty();
    let nothing = project.folder();
    let ran = start_without(&project, &[("PATH", &nothing)]);
    snapshot!(project, ran.code(1).shown());
}

#[test]
fn no_network_on_the_first_start() {
    let project = Project::empty();
    let (cache, nowhere) = (project.folder().join("cache"), std::path::Path::new("http://127.0.0.1:1/simple"));
    let one = std::path::Path::new("1");
    // pip's and uv's own words for it.
    let settings =
        [("XDG_CACHE_HOME", &*cache), ("PIP_INDEX_URL", nowhere), ("PIP_RETRIES", std::path::Path::new("0"))];
    let ran = start_without(&project, &[&settings[..], &[("UV_INDEX_URL", nowhere), ("UV_OFFLINE", one)]].concat());
    let ran = ran.code(1);
    assert!(ran.stderr.contains("cannot install"), "{}", ran.stderr);
    assert!(ran.stderr.contains("install uv") || ran.stderr.contains("check the network"), "{}", ran.stderr);
}
