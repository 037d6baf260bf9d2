//! Valid files, and how mistakes are shown.

use super::*;
use std::fs;

struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("app")).unwrap();
        fs::write(folder.path().join("app/requirements.txt"), "flask\n").unwrap();
        Self(folder)
    }

    fn parse(&self, text: &str) -> Result<Deployment> {
        parse(text, Path::new(FILE), self.0.path())
    }
}

fn good(text: &str) -> Deployment {
    Project::new().parse(text).unwrap_or_else(|failure| panic!("{}", render(&failure)))
}

fn bad(text: &str) -> String {
    render(&Project::new().parse(text).expect_err("this should be refused"))
}

fn render(failure: &Failure) -> String {
    crate::ui::render(failure, 100, false)
}

#[test]
fn two_lines_are_enough() {
    let deployment = good("name: hello\napp: {path: app}\n");
    assert_eq!(deployment.name, "hello");
    assert_eq!(deployment.app.web, "app:app");
    assert_eq!((deployment.instance.kind.as_str(), deployment.instance.image.name()), ("t3.micro", "debian-13"));
    assert_eq!((deployment.network.port, deployment.network.static_ip), (80, true));
    assert_eq!(deployment.network.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.0.0.0/0"]);
    assert_eq!((deployment.health.path.as_str(), deployment.token.path.as_str()), ("/", "/"));
    assert_eq!((deployment.token.env.as_str(), deployment.token.check), ("APP_SECRET_TOKEN", Check::App));
}

#[test]
fn the_web_app_has_two_keys_of_which_one_is_given() {
    for key in ["web", "wsgi"] {
        assert_eq!(good(&format!("name: hello\napp: {{path: app, {key}: 'a.b:c()'}}\n")).app.web, "a.b:c()");
        let said = bad(&format!("name: hello\napp: {{path: app, {key}: app.py}}\n"));
        assert!(said.contains(&format!("`app.{key}` names no callable")), "{said}");
    }
    let said = bad("name: hello\napp: {path: app, web: 'app:app', wsgi: 'app:app'}\n");
    assert!(said.contains("`app.wsgi` is another name of `app.web`") && said.contains("remove `wsgi`"), "{said}");
    assert!(!said.contains("unknown key"), "{said}");
}

#[test]
fn a_process_is_a_command_or_has_settings() {
    let worker = |run: &str, stop_seconds| Process { run: run.into(), stop_seconds };
    let found = good(
        "name: hello\napp: {path: app}\nprocesses:\n  worker: celery -A shop worker\n  beat-2: {run: beat, stop_seconds: 900}\n",
    );
    let wanted =
        [("beat-2".to_owned(), worker("beat", 900)), ("worker".to_owned(), worker("celery -A shop worker", 30))];
    assert_eq!(found.processes, wanted.into());
    assert!(good("name: hello\napp: {path: app}\nprocesses:\n").processes.is_empty());
    insta::assert_snapshot!(bad(
        "name: hello\napp: {path: app}\nprocesses:\n  Worker: x\n  app: x\n  empty: ''\n  none:\n  a: {stop_seconds: 901}\n  b: {run: [x], retries: 1}\n  c: 1\n"
    ));
    let nine: String = (1..=9).map(|number| format!("  p{number}: x\n")).collect();
    assert!(bad(&format!("name: hello\napp: {{path: app}}\nprocesses:\n{nine}")).contains("more than 8 keys"));
}

#[test]
fn https_is_on_by_default() {
    let network = |text: &str| good(&format!("name: hello\napp: {{path: app}}\nnetwork: {{{text}}}\n")).network;
    let reached = |text: &str| (network(text).reached(), network(text).front());
    assert_eq!(reached(""), ("https".into(), 443));
    assert_eq!(reached("https: auto, domain: app.example.com"), ("https://app.example.com".into(), 443));
    assert_eq!(reached("https: off"), ("port 80".into(), 80));
    assert_eq!(reached("https: off, port: 8080"), ("port 8080".into(), 8080));
    for (text, shut) in [("", false), ("allow: [10.0.0.0/8]", true), ("allow: ['::/0']", true)] {
        assert_eq!(network(text).shuts_out_public_authorities(), shut, "{text}");
        assert!(!network(&format!("https: off, {text}")).shuts_out_public_authorities());
    }
    assert_eq!(network("limits: {body_mb: 50}").limits.body_mb, 50);
}

#[test]
fn contradictions_to_https_are_refused() {
    insta::assert_snapshot!(bad(
        "name: hello\napp: {path: app}\nnetwork:\n  port: 8080\n  domain: localhost\n  acme_root: ca.pem\n  acme_directory: http://ca\n  limits: {body_mb: 0, boddy: 1}\n"
    ));
    insta::assert_snapshot!(bad("name: hello\napp: {path: app}\nnetwork: {https: 'no', domain: a.example.com}\n"));
    insta::assert_snapshot!(bad("name: hello\napp: {path: app}\nnetwork: {https: off, domain: a.example.com}\n"));
}

#[test]
fn a_dns_record_needs_a_domain_and_an_elastic_ip() {
    let network = |text: &str| good(&format!("name: hello\napp: {{path: app}}\nnetwork: {{{text}}}\n")).network;
    assert_eq!(network("domain: app.example.com, dns: route53").record(), Some("app.example.com"));
    assert_eq!(network("domain: app.example.com").record(), None);
    for text in [
        "dns: route53",
        "dns: route53, https: off",
        "dns: route53, domain: a.example.com, static_ip: false",
        "dns: bind",
    ] {
        insta::assert_snapshot!(bad(&format!("name: hello\napp: {{path: app}}\nnetwork: {{{text}}}\n")));
    }
}

#[test]
fn the_token_is_checked_at_the_health_path_by_default() {
    let text = "name: hello\napp: {path: app}\nhealth: {path: /healthz}\n";
    assert_eq!(good(text).token.path, "/healthz");
    assert_eq!(good(&format!("{text}token: {{path: /}}\n")).token.path, "/");
}

#[test]
fn numbers_in_env_stay_as_written() {
    let deployment = good("name: hello\napp:\n  path: app\n  env: {A: 1.10, B: 007, C: 'true', D: ''}\n");
    let env: Vec<_> = deployment.app.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(env, ["A=1.10", "B=007", "C=true", "D="]);
}

#[test]
fn all_mistakes_are_shown_at_once() {
    insta::assert_snapshot!(bad("name: Hello_World
regoin: eu-central-1
app:
  path: ap
  wsgi: app.py
  workers: 0
  env:
    2FAST: x
    APP_SECRET_TOKEN: oops
    DEBUG: yes
    FLAG: true
network:
  port: 0
  allow: [10.0.0.1, everyone]
instance:
  image: windows-95
tags:
  cost centre: 12
"));
}

#[test]
fn a_token_in_the_file_is_not_shown() {
    for text in [
        "name: hello\napp:\n  path: app\n  env:\n    APP_SECRET_TOKEN: not-for-your-eyes\n",
        "name: hello\napp:\n  path: app\n  env:\n    APP_SECRET_TOKEN: not-for-your-eyes\n   oops: [\n",
    ] {
        let shown = bad(text);
        assert!(shown.contains("APP_SECRET_TOKEN: *"), "{shown}");
        assert!(!shown.contains("not-for-your-eyes"), "{shown}");
    }
}

#[test]
fn secrets_are_names_alone_or_with_generate() {
    let file = |secrets: &str| format!("name: hello\napp: {{path: app, env: {{DEBUG: 1}}, secrets: {secrets}}}\n");
    let all = good(&file("[DATABASE_URL, {SESSION_KEY: generate}]")).app.secrets;
    let expected = [("DATABASE_URL", SecretOrigin::Set), ("SESSION_KEY", SecretOrigin::Generated)];
    assert_eq!(all, expected.map(|(name, origin)| (name.to_owned(), origin)).into());
    assert!(good(&file("")).app.secrets.is_empty() && good("name: hello\napp: {path: app}\n").app.secrets.is_empty());
    for (secrets, words) in [
        ("[2FAST]", "is not a valid name"),
        ("[APP_SECRET_TOKEN]", "holds the token"),
        ("[DEBUG]", "is set by `app.env`"),
        ("[A, {A: generate}]", "is listed twice"),
        ("[{A: generate, B: generate}]", "must list names"),
        ("[12]", "must list names"),
        ("DATABASE_URL", "must be a list"),
        ("[{A: ssm:/a b}]", "names no parameter of SSM"),
        ("[{A: 'ssm:/a#b'}]", "has a key"),
        ("[{A: secretsmanager:a:b}]", "names no secret of Secrets Manager"),
        ("[{A: ssm:/a, B: ssm:/b}]", "must list names"),
    ] {
        let shown = bad(&file(secrets));
        assert!(shown.contains(words), "{secrets}: {shown}");
    }
}

#[test]
fn secrets_can_be_kept_elsewhere() {
    let text =
        "name: hello\napp: {path: app, secrets: [A, {B: ssm:/shared/db}, {C: secretsmanager:prod/db#password}]}\n";
    let app = good(text).app;
    let found: Vec<_> = app.references().into_iter().map(|(name, found)| format!("{name} {found}")).collect();
    assert_eq!(found, ["B ssm:/shared/db", "C secretsmanager:prod/db#password"]);
    let many: String = (0..30).map(|at| format!("{{S{at}: ssm:/{}/{at}}}, ", "x".repeat(40))).collect();
    assert!(
        bad(&format!("name: hello\napp: {{path: app, secrets: [{many}]}}\n")).contains("more than 1024 characters")
    );
}

#[test]
fn the_value_of_a_secret_in_the_file_is_not_shown() {
    for secrets in ["    - DATABASE_URL: not-for-your-eyes\n", "    database_url: not-for-your-eyes\n"] {
        let shown = bad(&format!("name: hello\napp:\n  path: app\n  secrets:\n{secrets}"));
        assert!(!shown.contains("not-for-your-eyes"), "{shown}");
    }
}

#[test]
fn the_number_of_tags_is_limited() {
    let file = |tags: usize| {
        let lines: String = (0..tags).map(|number| format!("  key{number}: x\n")).collect();
        format!("name: hello\napp: {{path: app}}\ntags:\n{lines}")
    };
    let shown = bad(&file(31));
    assert!(shown.contains("`tags` has more than 30") && shown.contains("key30: x"), "{shown}");
    assert_eq!(good(&file(30)).tags.len(), 30);
}

#[test]
fn no_file_content() {
    insta::assert_snapshot!(bad(""));
}

#[test]
fn broken_yaml_points_at_the_place() {
    insta::assert_snapshot!(bad("name: hello\napp: {path: app\n"));
}

#[test]
fn a_key_given_twice_is_refused() {
    insta::assert_snapshot!(bad("name: hello\nname: world\napp: {path: app}\n"));
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(bad(
        "name: 12\napp: app\ntoken: {open_preflight: 'no'}\nnetwork: {allow: 0.0.0.0/0, port: '80'}\n"
    ));
}

#[test]
fn the_app_must_be_in_the_project() {
    insta::assert_snapshot!(bad("name: hello\napp: {path: ..}\n"));
}

#[test]
fn the_file_is_found_upwards() {
    let project = Project::new();
    fs::write(project.0.path().join(FILE), "name: hello\napp: {path: app}\n").unwrap();
    let found = find(None, &project.0.path().join("app")).unwrap();
    assert_eq!(found, project.0.path().join(FILE));
    assert_eq!(load(&found, false).unwrap().name, "hello");
}

#[test]
fn a_name_is_enough_for_down() {
    for name in ["shop", "on", "null", "y", "a-1"] {
        let deployment = super::named(name).unwrap();
        assert_eq!((deployment.name.as_str(), deployment.region), (name, None));
    }
    for name in ["", "Shop", "a b", "x\"\napp: {}", "-a", "../a", &"a".repeat(32)] {
        assert_eq!(super::named(name).unwrap_err().exit(), crate::base::error::Exit::Usage, "{name}");
    }
}

#[test]
fn only_the_proxys_check_has_open_paths() {
    let file = |token: &str| format!("name: hello\napp: {{path: app}}\ntoken: {{{token}}}\n");
    let token = good(&file("check: proxy, open: [/healthz, '/static/*']")).token;
    assert_eq!((token.check, token.path.as_str(), token.open_preflight), (Check::Proxy, "/", false));
    let open = ["/healthz", "/static/a", "/static/", "/static/a?b=/c"];
    let closed = ["/", "/healthz/", "/static", "/staticx", "/healthzz"];
    assert!(open.iter().all(|path| token.is_open(path)) && !closed.iter().any(|path| token.is_open(path)));
    for wrong in ["/*", "static/*", "//x", "/a/../b", "/a%2fb", "/*/x", "/a*", "/a b", "/a/./b"] {
        let said = bad(&file(&format!("check: proxy, open: ['{wrong}']")));
        assert!(said.contains("is not a path that can be open"), "{wrong}: {said}");
    }
    let shown = [
        "open: [/healthz]",
        "check: none, open_preflight: true",
        "check: proxy, open: [/]",
        "check: proxy, open: [/a], path: /a?b",
        "check: maybe",
    ];
    insta::assert_snapshot!("token_open", shown.map(|token| bad(&file(token))).join("\n"));
}

#[test]
fn static_files_have_prefixes_and_their_paths_can_be_open() {
    let file = |folders: &str, token: &str| {
        format!("name: hello\napp: {{path: app, static: {{{folders}}}}}\ntoken: {{{token}}}\n")
    };
    let deployment = good(&file("/static: staticfiles, /: frontend/dist", "open: ['/static/*', /logo.svg]"));
    let folders: Vec<(&str, &str)> =
        deployment.app.static_files.iter().map(|(prefix, folder)| (prefix.as_str(), folder.as_str())).collect();
    assert_eq!(folders, [("/", "frontend/dist"), ("/static", "staticfiles")]);
    assert_eq!((deployment.token.check, deployment.token.open.len()), (Check::App, 2));
    assert!(good("name: hello\napp: {path: app, static: }\n").app.static_files.is_empty());
    let shown = [
        file("/static/: files", ""),
        file("static: files", ""),
        file("/static: .", ""),
        file("/static: ../files", ""),
        file("/static: {folder: files}", ""),
        file("/static: files", "open: [/healthz, /static/a, /static]"),
        file("/static: files", "check: none, open: [/static/a]"),
        "name: hello\napp: {path: app, static: files}\n".to_owned(),
    ];
    insta::assert_snapshot!("static_files", shown.map(|text| bad(&text)).join("\n"));
}

#[test]
fn a_version_of_python_chooses_the_image() {
    let file = |python: &str, image: &str| {
        format!("name: hello\napp: {{path: app, python: {python}}}\ninstance: {{type: t3.micro{image}}}\n")
    };
    for (python, image) in
        [("3.12", "ubuntu-24.04"), ("'3.13'", "debian-13"), ("\"3.14\"", "ubuntu-26.04"), ("3.9", "al2023")]
    {
        assert_eq!(good(&file(python, "")).instance.image.name(), image, "{python}");
    }
    assert_eq!(good(&file("3.12", ", image: ubuntu-24.04")).instance.image.name(), "ubuntu-24.04");
    let shown = [bad(&file("3.12", ", image: debian-13")), bad(&file("3.10", "")), bad(&file("[3.12]", ""))];
    insta::assert_snapshot!("python", shown.join("\n"));
}

#[test]
fn a_schedule_has_times_and_a_command() {
    let parsed =
        good("name: hello\napp: {path: app}\nschedule: {nightly: {cron: '15  3 * * MON', run: x, timeout: 5}}\n");
    let run = &parsed.schedule["nightly"];
    assert_eq!((run.command.as_str(), run.timeout, run.catch_up), ("x", 5, false));
    assert_eq!((&run.cron.minutes, &run.cron.hours, &run.cron.weekdays), (&vec![15], &vec![3], &vec![1]));
    insta::assert_snapshot!(
        "schedules",
        bad(
            "name: hello\napp: {path: app}\nschedule:\n  release: {cron: '@daily', run: x}\n  a_b: {cron: '@daily', run: ' '}\n  \
         c: {cron: 0 25 * * *, run: x}\n  d: {cron: 0 0 31 4 *, runs: x}\n  e: {cron: '@reboot', run: x}\n  f: daily\n"
        )
    );
}
