//! The sections of docs/TROUBLESHOOTING.md: which snapshots they contain, and what the page adds to an error.

/// A section.
pub struct Section {
    pub title: &'static str,
    /// The snapshots' names, and an explanation that the error itself does not give.
    pub errors: &'static [(&'static str, &'static str)],
}

/// Snapshots of the calls that AWS can deny, with many errors each. They are not on the page.
pub const DENIED: [&str; 5] = [
    "denied_while_creating",
    "denied_while_looking",
    "denied_while_repairing",
    "denied_while_deleting",
    "denied_by_route_53",
];

/// The most common errors: the snapshot, a part of its text, the cause, and the fix.
pub const COMMON: [(&str, &str, &str, &str); 15] = [
    (
        "no_credentials",
        "no AWS credentials were found",
        "You are not signed in to AWS in this shell.",
        "`aws login`, `aws sso login` or `aws configure`; without an account: `devopsctl up --sandbox`",
    ),
    (
        "expired_credentials",
        "the AWS credentials have expired",
        "Sessions expire after some hours.",
        "`aws sso login` or `aws login`, then the same command",
    ),
    (
        "access_denied",
        "You are not authorized to perform this operation",
        "Your user or role lacks the permission that the message names.",
        "`devopsctl policy` prints all permissions that are needed",
    ),
    (
        "no_default_vpc",
        "No default VPC for this user",
        "The region has no network that EC2 uses by default.",
        "`aws ec2 create-default-vpc`, or name a subnet as `network.subnet` in `deploy.yaml`",
    ),
    (
        "the_limit_for_vcpus",
        "You have requested more vCPU capacity than your current vCPU limit",
        "A new account's quota can be too small for any instance.",
        "`devopsctl doctor` shows the quota and the command to request more",
    ),
    (
        "the_free_plan",
        "The specified instance type is not eligible for Free Tier",
        "The account is on the free plan, which allows only some types.",
        "`devopsctl doctor` lists them; set `instance.type` in `deploy.yaml`",
    ),
    (
        "no_requirements",
        "has no requirements",
        "The app's folder has neither a `requirements.txt` nor a `pyproject.toml`.",
        "write a `requirements.txt`, for example one line: `flask`",
    ),
    (
        "a_module_that_is_missing",
        "and no requirement provides it",
        "The app imports a module that is not among its dependencies.",
        "add its package to `requirements.txt`, then `devopsctl up`",
    ),
    (
        "a_requirement_that_has_to_be_built",
        "there is no wheel of",
        "The dependency needs a build, which runs its code on your machine.",
        "require a version with wheels, or set `app.build_dependencies: true` in `deploy.yaml`",
    ),
    (
        "files_that_may_hold_secrets",
        "files that may contain secrets",
        "The app can read every file of a release, and S3 stores it.",
        "list the file in `.devopsctlignore`, or in `app.include` to deploy it",
    ),
    (
        "an_app_that_raises_at_import",
        "the app can't be loaded",
        "The app raised an exception when it was imported; its output follows.",
        "correct the app, then `devopsctl up`",
    ),
    (
        "an_app_whose_health_path_answers_500",
        "with the token; healthy is 2xx or 3xx",
        "The health check failed.",
        "correct the app, or set `health.path` in `deploy.yaml`, then `devopsctl up`",
    ),
    (
        "an_app_that_answers_without_the_token",
        "without a token, so it is open to everyone",
        "The app does not check the token.",
        "return 401 or 403 without the token; or set `token.check`: `proxy` to have it checked in front of the app, `none` if the app is public",
    ),
    (
        "no_certificate",
        "there is no certificate for the app",
        "The certificate authority refused; its message follows.",
        "fix what it names, then `devopsctl up`",
    ),
    (
        "an_instance_that_no_longer_reports",
        "no longer reports",
        "The agent on the instance has stopped, or cannot reach AWS.",
        "the message has the command that reboots the instance; then `devopsctl up`",
    ),
];

pub const SECTIONS: [Section; 12] = [
    Section {
        title: "Command line",
        errors: &[
            ("another_tools_word", ""),
            ("a_misspelt_verb", ""),
            ("machine_without_sandbox", ""),
            ("no_terminal_to_ask_on", "Use `--yes` in scripts and CI."),
            ("ssh_as_json", ""),
            ("no_ssh_here", ""),
            ("the_folder_is_gone", ""),
        ],
    },
    Section {
        title: "Reading `deploy.yaml`",
        errors: &[
            ("no_deploy_yaml", ""),
            ("no_deploy_yaml_for_down", "`down` needs only the deployment's name."),
            ("no_such_file", ""),
            ("a_deploy_yaml_that_is_too_large", ""),
            ("a_deploy_yaml_of_another_user", "The file decides what is deployed with your permissions."),
            ("a_deploy_yaml_with_mistakes", "All mistakes are reported at once, each with its place."),
            ("a_deploy_yaml_that_is_no_yaml", ""),
            ("a_name_that_cannot_be_one", ""),
            ("allow_keeps_the_authority_out", ""),
            ("no_region", ""),
        ],
    },
    Section {
        title: "Writing a `deploy.yaml` with `init`",
        errors: &[
            ("init_sees_no_app", ""),
            ("init_of_an_app_that_cannot_be_imported", ""),
            ("init_of_several_apps", ""),
            ("init_without_a_name", ""),
            ("init_without_a_name_and_without_asking", ""),
            ("init_of_no_folder", ""),
            ("init_of_a_file", ""),
            ("init_of_a_file_elsewhere", ""),
            ("init_overwrites_nothing", ""),
            ("init_that_cannot_write", ""),
            ("man_pages_that_cannot_be_written", ""),
        ],
    },
    Section {
        title: "Building a release",
        errors: &[
            ("no_requirements", ""),
            ("requirements_that_are_no_text", ""),
            ("a_requirement_that_does_not_resolve", "uv's message names the requirement and the reason."),
            ("a_module_that_is_missing", "The package may have another name than the module: `yaml` is in PyYAML."),
            ("a_link_that_leads_out", "The link's target would be missing on the instance."),
            ("a_link_to_a_folder", ""),
            (
                "files_that_may_hold_secrets",
                "`.env`, `.git`, virtual environments and files in `.gitignore` are never part of a release.",
            ),
            ("static_files_that_are_missing", "`devopsctl init` proposes the command for Django and for a frontend."),
            ("an_include_that_is_not_packed", ""),
            ("a_file_that_cannot_be_taken", ""),
            ("a_requirement_that_has_to_be_built", "A wheel runs no code on your machine, a build does."),
            ("a_project_that_has_to_be_built", ""),
            ("an_editable_project", ""),
            ("an_option_that_builds", "This also applies to included requirements files and to uv's settings."),
            ("requirements_that_cannot_be_followed", ""),
            ("neither_uv_nor_python", ""),
            ("no_uv_and_no_pip", ""),
            ("an_index_that_refuses", "An index refuses with 401 or 403. README.md lists the ways to log in."),
            ("a_login_in_requirements", ""),
            ("a_requirement_without_a_wheel", "Code that is compiled on your machine may not run on the instance."),
            (
                "a_python_that_the_image_lacks",
                "`.python-version` and `requires-python` are read in the app's folder and above it, up to the folder of `deploy.yaml`.",
            ),
            ("a_python_that_no_image_has", ""),
            ("a_gunicorn_that_is_too_old", "Without gunicorn in the requirements, the newest one is used."),
            ("a_local_package_that_was_not_seen", ""),
            ("a_package_that_leads_here", "The instance has no such folder."),
            ("caddy_cannot_be_had", "Caddy is downloaded once and cached."),
            ("a_cache_that_cannot_be_used", ""),
        ],
    },
    Section {
        title: "Credentials and permissions",
        errors: &[
            ("no_credentials", ""),
            ("an_endpoint_in_clear", ""),
            ("no_credentials_for_a_profile", ""),
            ("expired_credentials", ""),
            ("unknown_credentials", ""),
            ("a_clock_that_is_wrong", ""),
            ("access_denied", ""),
            ("an_organization_forbids_it", "No policy in the account itself can allow it."),
        ],
    },
    Section {
        title: "Creating resources",
        errors: &[
            ("no_default_vpc", ""),
            ("a_type_that_is_not_there", ""),
            ("a_type_before_nitro", ""),
            ("a_subnet_without_a_way_out", ""),
            ("a_vpc_without_a_gateway", ""),
            ("a_subnet_that_is_not_there", ""),
            ("a_subnet_in_another_vpc", ""),
            ("a_full_subnet", ""),
            ("no_capacity", ""),
            ("a_type_that_the_zone_lacks", ""),
            ("the_limit_for_vcpus", ""),
            ("the_limit_for_addresses", ""),
            ("an_account_that_is_not_cleared", ""),
            ("the_free_plan", ""),
            ("the_free_plan_and_the_image", ""),
            ("an_image_that_is_not_allowed", ""),
            ("a_launch_that_dies_of_the_disk_limit", ""),
            ("a_launch_that_dies_of_the_key", ""),
            ("a_launch_that_dies_of_capacity", ""),
            ("a_launch_that_dies_of_something", ""),
            ("a_group_that_is_not_ours", "Resources without the tag `devopsctl:name` are never changed."),
            ("a_profile_that_is_not_ours", ""),
            ("a_key_that_is_none", ""),
            ("a_certain_code", ""),
            ("stopped_by_ctrl_c", "Nothing is lost: each run continues from the existing resources."),
        ],
    },
    Section {
        title: "Waiting for the app",
        errors: &[
            ("an_app_that_raises_at_import", ""),
            (
                "an_app_whose_health_path_answers_500",
                "`health.path` and `health.timeout` in `deploy.yaml` configure the health check.",
            ),
            ("an_app_that_never_answers", ""),
            ("an_app_that_answers_without_the_token", ""),
            ("an_app_that_fails", ""),
            ("an_app_that_is_open_from_outside", "The check on the instance passed."),
            ("an_app_that_does_not_answer_outside", ""),
            ("a_token_that_goes_meanwhile", ""),
            ("an_instance_that_was_stopped_meanwhile", ""),
            (
                "an_instance_that_no_longer_reports",
                "A running agent reports at least every five minutes; systemd restarts it.",
            ),
            ("another_release_meanwhile", ""),
            ("tags_that_are_not_seen", ""),
            (
                "no_certificate",
                "The authority's message is quoted. Let's Encrypt issues five certificates per week for the same domain or address.",
            ),
        ],
    },
    Section {
        title: "Route 53",
        errors: &[
            ("a_name_without_a_zone", ""),
            ("a_name_with_two_zones", ""),
            ("a_record_that_is_not_ours", ""),
            ("a_record_of_ipv6", ""),
            ("another_deployments_name", ""),
        ],
    },
    Section {
        title: "Token",
        errors: &[
            ("no_token_yet", ""),
            ("no_terminal_for_the_token", ""),
            ("an_empty_token", ""),
            ("a_token_with_white_space", ""),
            ("a_token_that_is_not_ascii", "The token is sent in a header."),
            ("a_token_that_is_too_short", ""),
            ("a_token_that_is_too_long", ""),
            ("a_token_that_is_no_text", ""),
            ("a_token_by_hand", ""),
        ],
    },
    Section {
        title: "Secrets",
        errors: &[
            ("secrets_that_are_missing", ""),
            ("a_secret_that_is_needed", ""),
            ("a_value_in_the_arguments", ""),
            ("a_name_that_is_taken", ""),
            ("a_secret_of_several", ""),
            ("no_terminal_for_a_secret", ""),
            ("an_empty_secret", ""),
            ("a_secret_that_is_too_long", ""),
            ("a_secret_that_is_no_text", ""),
            ("a_secret_that_is_not_set", ""),
            ("a_file_of_secrets_that_is_missing", ""),
            ("a_line_that_is_no_variable", ""),
            ("secrets_that_would_be_overwritten", ""),
        ],
    },
    Section {
        title: "Looking, rolling back, deleting",
        errors: &[
            ("no_log_without_an_instance", ""),
            ("a_silent_log", ""),
            ("nothing_to_open", ""),
            ("nothing_to_go_back_to", ""),
            ("nothing_ran_before", ""),
            ("a_release_that_is_gone", "The bucket keeps the last ten releases."),
            ("no_such_release", ""),
            ("a_release_named_too_shortly", ""),
            ("several_releases_that_begin_so", ""),
            ("a_release_that_does_not_fit", ""),
            ("a_rollback_of_what_is_off", ""),
            ("a_rollback_without_an_instance", ""),
            ("termination_protection", ""),
            ("a_key_that_cannot_be_deleted", ""),
        ],
    },
    Section {
        title: "Sandbox",
        errors: &[
            ("no_python", ""),
            ("an_old_python", ""),
            (
                "a_python_that_this_machine_lacks",
                "Otherwise the sandbox uses the `python3` on `PATH`, for which the requirements may be invalid.",
            ),
            ("no_network_for_the_local_aws", ""),
            ("no_qemu", ""),
            ("no_image_for_qemu", ""),
            ("a_machine_that_qemu_is_not", ""),
            ("a_folder_that_cannot_be_made", ""),
            ("a_path_that_is_too_long", ""),
            ("a_state_folder_that_cannot_be_used", ""),
            ("a_port_that_is_taken", ""),
            ("the_local_aws_does_not_start", ""),
            ("the_emulator_does_not_start", ""),
            ("the_local_aws_runs_with_other_machines", ""),
            ("the_local_aws_runs_on_another_port", ""),
            ("the_local_aws_does_not_answer", ""),
            ("a_command_that_is_not_there", "This is only in the sandbox's log."),
            ("a_metadata_service_that_is_not_there", "This is only in the sandbox's log."),
        ],
    },
];

/// Whether a snapshot of that name is listed.
pub fn has(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The names of all snapshots.
pub fn names() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().flat_map(|section| section.errors).map(|(name, _)| *name).chain(DENIED)
}
