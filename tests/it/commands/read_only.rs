//! Read-only commands change nothing in AWS, and need only the permissions of `policy --plan`.

use serde_json::Value;

use crate::console::{aws, calls, only_reads};
use crate::project::Project;

#[test]
fn read_only_commands_change_nothing_and_need_only_the_plan_policy() {
    let project = Project::example();
    project.up();
    // A change for `plan`.
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ntags: {{team: web}}\n"));
    let policy = project.ok("policy --plan --sandbox");
    aws(&project, async |aws| {
        let put = aws.iam.put_user_policy().user_name("devopsctl").policy_name("devopsctl").policy_document(policy);
        put.send().await.unwrap();
    });
    let verbs =
        [("plan", 3), ("status", 0), ("list", 0), ("secrets list", 0), ("releases", 0), ("cost", 0), ("doctor", 5)];
    for (verb, code) in verbs {
        let before = calls(&project).len();
        let ran = project.run(&format!("{verb} --sandbox")).code(code);
        let made = calls(&project).split_off(before);
        assert!(verb == "cost" || !made.is_empty(), "{verb}");
        let writes = made.iter().filter(|call| {
            // `doctor` makes dry runs, which EC2 always answers with an error.
            let trial = verb == "doctor" && call["service"] == "ec2" && call["status"].as_u64() >= Some(400);
            !only_reads(call) && !trial
        });
        assert_eq!(writes.collect::<Vec<_>>(), [&Value::Null; 0], "{verb}");
        if verb != "doctor" {
            // The metadata of a release needs the permission to read its code, so it is not shown here.
            let absent = |call: &Value| call["error"] == "ParameterNotFound" || call["error"] == "NoSuchEntity";
            let refused = |call: &&Value| call["status"].as_u64() >= Some(400) && !absent(call);
            let refused = made.iter().filter(refused).filter(|call| call["action"] != "HeadObject");
            let refused = refused.collect::<Vec<_>>();
            assert_eq!(refused, [&Value::Null; 0], "{verb}: {}", ran.stderr);
        }
    }
}
