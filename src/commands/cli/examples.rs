//! The examples at the end of each verb's `--help`. A test parses each of them.

pub(super) const INIT: &str = "\
Examples:
  devopsctl init                  in the app's folder
  devopsctl init --yes ../shop";

pub(super) const UP: &str = "\
Examples:
  devopsctl up --sandbox             without an AWS account
  devopsctl up --region eu-central-1
  devopsctl up --refresh-image       replace the instance by one with the newest image";

pub(super) const PLAN: &str = "\
Example:
  devopsctl plan  (exit code 3: there are changes)";

pub(super) const ROLLBACK: &str = "\
Examples:
  devopsctl rollback           to the previous release
  devopsctl rollback 7458318d  to a release that `releases` lists";

pub(super) const RELEASES: &str = "\
Example:
  devopsctl releases";

pub(super) const SET_TOKEN: &str = "\
Examples:
  devopsctl set-token --generate --grace 10m
  pass show shop | devopsctl set-token --stdin";

pub(super) const TOKEN: &str = "\
Example:
  curl -H \"Authorization: Token $(devopsctl token)\" https://203.0.113.7";

pub(super) const SECRETS: &str = "\
Examples:
  devopsctl secrets set DATABASE_URL MAIL_PASSWORD
  devopsctl secrets import .env
  devopsctl secrets list";

pub(super) const SECRETS_SET: &str = "\
Examples:
  devopsctl secrets set DATABASE_URL MAIL_PASSWORD  asks for both values
  devopsctl secrets set --generate SESSION_KEY
  pass show shop/tls-key | devopsctl secrets set --stdin TLS_KEY";

pub(super) const SECRETS_IMPORT: &str = "\
Examples:
  devopsctl secrets import .env
  devopsctl secrets import --yes .env.production";

pub(super) const SECRETS_LIST: &str = "\
Examples:
  devopsctl secrets list
  devopsctl secrets list --json";

pub(super) const SECRETS_GET: &str = "\
Example:
  psql \"$(devopsctl secrets get DATABASE_URL)\"";

pub(super) const SECRETS_REFRESH: &str = "\
Example:
  aws secretsmanager put-secret-value --secret-id prod/db --secret-string file://db.json && devopsctl secrets refresh";

pub(super) const SECRETS_UNSET: &str = "\
Example:
  devopsctl secrets unset MAIL_PASSWORD";

pub(super) const STATUS: &str = "\
Examples:
  devopsctl status         (exit code 4: not healthy)
  devopsctl status --json";

pub(super) const LOGS: &str = "\
Examples:
  devopsctl logs -f
  devopsctl logs worker
  devopsctl logs --access -n 20";

pub(super) const SSH: &str = "\
Examples:
  devopsctl ssh
  devopsctl ssh -- sudo journalctl -n 50

For a command of the app, with its secrets and packages, use 'run'.";

pub(super) const RUN: &str = "\
Examples:
  devopsctl run -- flask shell
  devopsctl run -- python manage.py createsuperuser
  devopsctl run -- python manage.py shell < script.py";

pub(super) const OPEN: &str = "\
Example:
  devopsctl open --sandbox";

pub(super) const COST: &str = "\
Examples:
  devopsctl cost --region eu-central-1
  devopsctl cost --json";

pub(super) const DOCTOR: &str = "\
Examples:
  devopsctl doctor --region eu-central-1
  devopsctl doctor --sandbox";

pub(super) const LIST: &str = "\
Examples:
  devopsctl list --region eu-central-1
  devopsctl list --json";

pub(super) const DOWN: &str = "\
Examples:
  devopsctl down
  devopsctl down --name shop --region eu-central-1  without its deploy.yaml
  devopsctl down --delete-data shop                 with its data volume";

pub(super) const POLICY: &str = "\
Example:
  devopsctl policy --account 123456789012 > policy.json";

pub(super) const SCHEMA: &str = "\
Example:
  devopsctl schema > deploy.schema.json";

pub(super) const SANDBOX: &str = "\
Examples:
  devopsctl sandbox status
  devopsctl sandbox stop";

pub(super) const COMPLETIONS: &str = "\
Examples:
  devopsctl completions bash > ~/.local/share/bash-completion/completions/devopsctl
  devopsctl completions fish > ~/.config/fish/completions/devopsctl.fish";
