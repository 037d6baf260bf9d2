//! `app.permissions`: the app has a role of its own in AWS, and boto3 in it just works.

use serde_json::{Value, json};

use crate::console::aws;
use crate::http::get;
use crate::project::Project;

const BUCKET: &str = "shop-data";
const APP_ROLE: &str = "devopsctl-hello-us-east-1-app";
const READ_ONLY: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";

/// What the app tries: the name of its session, and the answer of AWS to each call.
const TRIES: &str = "
import boto3
from botocore.exceptions import BotoCoreError, ClientError


@app.get('/aws')
def aws():
    def attempt(service, call, **arguments):
        try:
            answer = getattr(boto3.client(service), call)(**arguments)
        except ClientError as error:
            return error.response['Error']['Code']
        except BotoCoreError as error:
            return type(error).__name__
        return answer.get('Arn') or 'done'

    mine, ours = {'Bucket': 'shop-data', 'Key': 'a'}, 'devopsctl-123456789012-us-east-1-an'
    return {
        'who': attempt('sts', 'get_caller_identity'),
        'put': attempt('s3', 'put_object', Body=b'x', **mine),
        'get': attempt('s3', 'get_object', **mine),
        'delete': attempt('s3', 'delete_object', **mine | {'Key': 'b'}),
        'releases': attempt('s3', 'list_objects_v2', Bucket=ours),
        'certificates': attempt('s3', 'get_object', Bucket=ours, Key='hello/certificates.json'),
        'token': attempt('ssm', 'get_parameter', Name='/devopsctl/hello/token', WithDecryption=True),
        'generation': os.getppid(),
    }


if __name__";

fn policy(actions: &Value, resource: &str) -> String {
    let statement = json!({"Effect": "Allow", "Action": actions, "Resource": resource});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

fn permit(project: &Project, permissions: &str) {
    project.file("deploy.yaml", &format!("name: hello\napp:\n  path: app\n{permissions}"));
}

/// Asserts what the app gets, and returns its generation.
#[track_caller]
fn tries(project: &Project, url: &str, put: &str, get_: &str, delete: &str) -> u64 {
    let answer = get(&format!("{url}/aws"), Some(&project.token()));
    let found: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body));
    let calls = ["put", "get", "delete"].map(|name| found[name].as_str().unwrap());
    assert_eq!(calls, [put, get_, delete], "{found}");
    if put != "NoCredentialsError" {
        let who = format!("arn:aws:sts::123456789012:assumed-role/{APP_ROLE}/i-");
        assert!(found["who"].as_str().unwrap().starts_with(&who), "{found}");
        let ours = [&found["releases"], &found["certificates"], &found["token"]];
        assert_eq!(ours, ["AccessDenied", "AccessDenied", "AccessDeniedException"], "{found}");
    }
    found["generation"].as_u64().unwrap()
}

#[test]
#[ignore = "slow"]
fn an_app_uses_its_own_bucket_and_nothing_of_the_agent() {
    let (project, denied) = (Project::example(), "AccessDenied");
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &app.replace("\nif __name__", TRIES));
    let requirements = std::fs::read_to_string(project.folder().join("app/requirements.txt")).unwrap();
    project.file("app/requirements.txt", &format!("{requirements}\nboto3\n"));
    aws(&project, async |aws| aws.s3.create_bucket().bucket(BUCKET).send().await.map(drop).unwrap());
    let objects = format!("arn:aws:s3:::{BUCKET}/*");
    project.file("policy.json", &policy(&json!(["s3:GetObject", "s3:PutObject"]), &objects));
    permit(&project, "  permissions: policy.json\n");
    let url = project.up();
    let first = tries(&project, &url, "done", "done", denied);
    project.run("status --sandbox").ok().says("the app has its AWS permissions");
    let status: Value = serde_json::from_str(&project.run("status --sandbox --json").ok().stdout).unwrap();
    assert_eq!(status["report"]["role"], json!({"error": null}));

    // What AWS refuses: the app serves with the permissions that it has.
    project.file("policy.json", &policy(&json!("nothing"), &objects));
    let refused = project.run("up --sandbox").code(1).says("cannot give the app the permissions of policy.json");
    refused.says("MalformedPolicyDocument").says("correct policy.json, then run: devopsctl up --sandbox");
    // A change of the policy needs no new generation. It cannot give the app more than its own buckets.
    project.file("policy.json", &policy(&json!("s3:*"), "*"));
    project.run("plan --sandbox").code(3).says("~ app role its policy differs from policy.json");
    project.ok("up --sandbox");
    assert_eq!(tries(&project, &url, "done", "done", "done"), first);

    project.ok("set-token --sandbox --generate");
    let second = tries(&project, &url, "done", "done", "done");
    assert_ne!(second, first);
    permit(&project, &format!("  permissions: ['{READ_ONLY}']\n"));
    project.run("up --sandbox").ok().says(&format!("{READ_ONLY} is not attached"));
    assert_eq!(tries(&project, &url, denied, "done", denied), second);

    // The role goes only once a release is healthy without it.
    permit(&project, "");
    let (good, broken) = (app.replace("\nif __name__", TRIES), "raise SystemExit('cannot start')\n");
    project.file("app/app.py", broken).run("up --sandbox --yes").code(4).says("The app's role was not deleted");
    assert_eq!(tries(&project, &url, denied, "done", denied), second);
    project.file("app/app.py", &good).run("up --sandbox --yes").ok().says("- app role");
    let nothing = "NoCredentialsError";
    tries(&project, &url, nothing, nothing, nothing);
    let role = aws(&project, async |aws| aws.iam.get_role().role_name(APP_ROLE).send().await.map(drop));
    assert!(role.is_err());
    assert!(!project.run("status --sandbox").ok().stdout.contains("AWS permissions"));
}
