//! What hangs in the gallery, and where: the document's order, its titles, and what is said beside a picture that does not
//! say it all by itself.

/// What the user was doing.
pub struct Room {
    pub doing: &'static str,
    pub pictures: &'static [Picture],
}

/// The snapshot's name, the title, and what else there is to say.
pub type Picture = (&'static str, &'static str, &'static str);

/// The calls that AWS may refuse, each picture with many.
pub const REFUSED: [(&str, &str); 5] = [
    ("refused_while_all_of_it_is_made", "making all of it"),
    ("refused_while_somebody_looks", "looking"),
    ("refused_while_something_is_mended", "mending what was changed"),
    ("refused_while_all_of_it_goes", "removing all of it"),
    ("refused_by_route_53", "Route 53"),
];

/// What goes wrong most often: a picture, words of it, why it is so, and what to type or do.
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
        "A session with AWS lasts some hours.",
        "`aws sso login` or `aws login`, then the same command",
    ),
    (
        "access_denied",
        "You are not authorized to perform this operation",
        "Your user or role lacks the permission that the message names.",
        "`devopsctl policy` prints all permissions that are needed, for an administrator",
    ),
    (
        "no_default_vpc",
        "No default VPC for this user",
        "The region has no network in which EC2 places instances by default.",
        "`aws ec2 create-default-vpc`, or name a subnet as `network.subnet` in `deploy.yaml`",
    ),
    (
        "the_limit_for_vcpus",
        "You have requested more vCPU capacity than your current vCPU limit",
        "The quota of a new account can be too small for any instance.",
        "`devopsctl doctor` shows the quota and the command that asks for more",
    ),
    (
        "the_free_plan",
        "The specified instance type is not eligible for Free Tier",
        "The account is on the free plan, which allows some types only.",
        "`devopsctl doctor` names them; set `instance.type` in `deploy.yaml`",
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
        "The dependency would have to be built, which runs its code on this machine.",
        "ask for a version with wheels, or set `app.build_dependencies: true` in `deploy.yaml`",
    ),
    (
        "files_that_may_hold_secrets",
        "files that may hold secrets",
        "The app can read every file of a release, and S3 keeps it.",
        "name the file in `.devopsctlignore`, or in `app.include` to deploy it",
    ),
    (
        "an_app_that_raises_at_import",
        "the app can't be loaded",
        "The app raised an exception as it was imported; what it printed follows.",
        "correct the app, then `devopsctl up`",
    ),
    (
        "an_app_whose_health_path_answers_500",
        "with the token; healthy is 2xx or 3xx",
        "The app answered the health request with an error.",
        "correct the app, or set `health.path` in `deploy.yaml`, then `devopsctl up`",
    ),
    (
        "an_app_that_answers_without_the_token",
        "without a token, so it is open to everyone",
        "The app does not check the token.",
        "let it answer 401 or 403 without the token; or, if it is meant to be public, set `token.enforce: false`",
    ),
    (
        "no_certificate",
        "there is no certificate for the app",
        "The certificate authority refused; its own words follow.",
        "put right what it names, then `devopsctl up`",
    ),
    (
        "an_instance_that_no_longer_reports",
        "no longer reports",
        "The agent on the instance has stopped, or cannot reach AWS.",
        "the message has the command that reboots the instance; then `devopsctl up`",
    ),
];

pub const ROOMS: [Room; 11] = [
    Room {
        doing: "Typing a command",
        pictures: &[
            ("another_tools_word", "A word of another tool", ""),
            ("a_misspelt_verb", "A misspelt verb", ""),
            ("machine_without_sandbox", "`--machine` without `--sandbox`", ""),
            (
                "no_terminal_to_ask_on",
                "A question, and no terminal to ask on",
                "Scripts and CI answer questions beforehand.",
            ),
            ("ssh_as_json", "`ssh` with `--json`", ""),
            ("no_ssh_here", "`ssh`, and none on this machine", ""),
            ("the_folder_is_gone", "The folder one is in was removed", ""),
        ],
    },
    Room {
        doing: "Reading `deploy.yaml`",
        pictures: &[
            ("no_deploy_yaml", "There is none", ""),
            (
                "no_deploy_yaml_for_down",
                "There is none, for `down`",
                "Nothing but the name is needed to take it all down.",
            ),
            ("no_such_file", "The file that was named is not there", ""),
            ("a_deploy_yaml_that_is_too_large", "It is too large", ""),
            (
                "a_deploy_yaml_of_another_user",
                "It is another user's",
                "It would say what is deployed, and with which of your rights. `--file` says that you mean it.",
            ),
            ("a_deploy_yaml_with_mistakes", "It has mistakes", "All of them are shown at once, each at its place."),
            ("a_deploy_yaml_that_is_no_yaml", "It is no YAML", ""),
            ("a_name_that_cannot_be_one", "A name that cannot be one", ""),
            ("allow_keeps_the_authority_out", "`network.allow` keeps the authority out", ""),
            ("no_region", "No region", ""),
        ],
    },
    Room {
        doing: "Writing a `deploy.yaml` with `init`",
        pictures: &[
            ("init_sees_no_app", "No app is seen", ""),
            ("init_of_an_app_that_cannot_be_imported", "The app's file has a name that Python cannot import", ""),
            ("init_of_several_apps", "Several apps, and no terminal", ""),
            ("init_without_a_name", "The folder's name does not do, and no terminal", ""),
            ("init_without_a_name_and_without_asking", "The folder's name does not do, and nothing is to be asked", ""),
            ("init_of_no_folder", "There is no such folder", ""),
            ("init_of_a_file", "It is a file", ""),
            ("init_of_a_file_elsewhere", "The file would lie elsewhere", ""),
            ("init_overwrites_nothing", "There is one already", ""),
            ("init_that_cannot_write", "It cannot be written", ""),
            ("man_pages_that_cannot_be_written", "The man pages cannot be written", ""),
        ],
    },
    Room {
        doing: "Building the release",
        pictures: &[
            ("no_requirements", "The app has no requirements", ""),
            ("requirements_that_are_no_text", "The requirements are no text", ""),
            (
                "a_requirement_that_does_not_resolve",
                "A requirement does not resolve",
                "uv's own words say which, and why.",
            ),
            (
                "a_module_that_is_missing",
                "The app imports a module that no requirement provides",
                "The package that has it may have another name: `yaml` comes with PyYAML.",
            ),
            (
                "a_link_that_leads_out",
                "A link leads out of the folder",
                "What is behind it would not be on the instance.",
            ),
            ("a_link_to_a_folder", "A link to a folder", ""),
            (
                "files_that_may_hold_secrets",
                "Files that may hold secrets",
                "`.env` itself, `.git` and virtual environments are never packed, and what `.gitignore` names is not either.",
            ),
            ("an_include_that_is_not_packed", "`app.include` names a file that is not packed", ""),
            ("a_file_that_cannot_be_taken", "A file that cannot be taken along", ""),
            (
                "a_requirement_that_has_to_be_built",
                "A requirement has no wheel",
                "Dependencies come as wheels, which run no code here. `app.build_dependencies: true` allows builds.",
            ),
            ("a_project_that_has_to_be_built", "A requirement is a project without a name", ""),
            ("an_editable_project", "A requirement leads to an editable project", ""),
            (
                "an_option_that_builds",
                "An option that has packages built",
                "Also in the files that a requirements file includes, and in uv's settings.",
            ),
            ("requirements_that_cannot_be_followed", "Included requirements that cannot be checked", ""),
            ("neither_uv_nor_python", "Neither uv nor Python is on this machine", ""),
            ("no_uv_and_no_pip", "uv is missing, and pip cannot install it", ""),
            (
                "a_requirement_without_a_wheel",
                "A requirement would have to be compiled",
                "With `app.build_dependencies: true`. What is compiled here need not run there.",
            ),
            (
                "a_python_that_the_image_lacks",
                "The project asks for another Python than the image has",
                "`.python-version` and `requires-python` count, in the app's folder and above it up to `deploy.yaml`.",
            ),
            ("a_python_that_no_image_has", "The project asks for a Python that no image has", ""),
            (
                "a_gunicorn_that_is_too_old",
                "A gunicorn that is too old",
                "Every gunicorn from 20.1 on works. Where the requirements name none, the newest is used.",
            ),
            (
                "a_local_package_that_was_not_seen",
                "A local package that is named in an unusual way",
                "Local packages are built from a copy of their folder.",
            ),
            (
                "a_package_that_leads_here",
                "A package leads to a folder of this machine",
                "On the instance there is no such folder.",
            ),
            ("caddy_cannot_be_had", "Caddy cannot be had", "It comes from the package index once, and is kept."),
            ("a_cache_that_cannot_be_used", "The cache folder cannot be used", ""),
        ],
    },
    Room {
        doing: "Signing in",
        pictures: &[
            ("no_credentials", "No credentials", ""),
            ("an_endpoint_in_clear", "The AWS endpoint is not HTTPS", ""),
            ("no_credentials_for_a_profile", "No credentials for a profile", ""),
            ("expired_credentials", "Expired credentials", ""),
            (
                "unknown_credentials",
                "Credentials that AWS does not know",
                "Also where a region is not enabled in the account.",
            ),
            ("a_clock_that_is_wrong", "This machine's clock is wrong", ""),
            ("access_denied", "Not allowed", "`devopsctl policy` prints the least that is needed, ready for IAM."),
            ("an_organization_forbids_it", "Forbidden by the organization", "No policy of the account can allow it."),
        ],
    },
    Room {
        doing: "Making it with `up`",
        pictures: &[
            ("no_default_vpc", "No default VPC", ""),
            ("a_type_that_is_not_there", "The region does not have the type", ""),
            ("a_type_before_nitro", "The type is not a Nitro type", ""),
            ("a_subnet_without_a_way_out", "The subnet has no way to the internet", ""),
            ("a_vpc_without_a_gateway", "The VPC has no internet gateway", ""),
            ("a_subnet_that_is_not_there", "The subnet is not there", ""),
            ("a_subnet_in_another_vpc", "The subnet is in another VPC", ""),
            ("a_full_subnet", "The subnet is full", ""),
            ("no_capacity", "No capacity", ""),
            ("a_type_that_the_zone_lacks", "The zone does not have the type", ""),
            ("the_limit_for_vcpus", "The limit for vCPUs", ""),
            ("the_limit_for_addresses", "The limit for addresses", ""),
            ("an_account_that_is_not_cleared", "The account is not cleared yet", ""),
            ("the_free_plan", "The free plan refuses the type", ""),
            ("the_free_plan_and_the_image", "The free plan refuses the image", ""),
            ("an_image_that_is_not_allowed", "The image is not allowed", ""),
            ("a_launch_that_dies_of_the_disk_limit", "A launch that dies: the limit for disks", ""),
            ("a_launch_that_dies_of_the_key", "A launch that dies: the key for disk encryption", ""),
            ("a_launch_that_dies_of_capacity", "A launch that dies: no capacity", ""),
            ("a_launch_that_dies_of_something", "A launch that dies of something else", ""),
            (
                "a_group_that_is_not_ours",
                "Somebody else's resource has the name",
                "What bears our name without our tag is never touched.",
            ),
            ("a_profile_that_is_not_ours", "Somebody else's profile is attached", ""),
            ("a_key_that_is_none", "The key file is no key", ""),
            ("a_certain_code", "A code that nobody here knows", ""),
            (
                "stopped_by_ctrl_c",
                "Stopped by Ctrl-C",
                "Nothing is lost: each run looks at what stands and goes on from there.",
            ),
        ],
    },
    Room {
        doing: "Waiting for the app",
        pictures: &[
            ("an_app_that_raises_at_import", "It raises when it is imported", ""),
            (
                "an_app_whose_health_path_answers_500",
                "Its health path does not answer well",
                "`health.path` and `health.timeout` in `deploy.yaml` say where it is asked and how long it may take.",
            ),
            ("an_app_that_never_answers", "It never answers", ""),
            ("an_app_that_answers_without_the_token", "It answers without the token", "It would be open to the world."),
            ("an_app_that_fails", "It failed, and nothing ran before", ""),
            (
                "an_app_that_is_open_from_outside",
                "It answers without the token from outside",
                "The instance's own check was in order.",
            ),
            ("an_app_that_does_not_answer_outside", "It does not answer well from outside", ""),
            ("a_token_that_goes_meanwhile", "The token was deleted meanwhile", ""),
            ("an_instance_that_was_stopped_meanwhile", "The instance was ended meanwhile", ""),
            (
                "an_instance_that_no_longer_reports",
                "The instance no longer reports",
                "A running agent reports at least every five minutes; systemd restarts one that stops.",
            ),
            ("another_release_meanwhile", "Another release was deployed meanwhile", ""),
            ("tags_that_are_not_seen", "The instance does not see what is new", ""),
            (
                "no_certificate",
                "There is no certificate",
                "The authority's own words say why. Let's Encrypt gives five a week for the same name or address.",
            ),
        ],
    },
    Room {
        doing: "Having a name in Route 53",
        pictures: &[
            ("a_name_without_a_zone", "There is no zone for it", ""),
            ("a_name_with_two_zones", "There are two zones of that name", ""),
            ("a_record_that_is_not_ours", "The name has a record that is not ours", ""),
            ("a_record_of_ipv6", "The name has an IPv6 address", ""),
            ("another_deployments_name", "The name is another deployment's", ""),
        ],
    },
    Room {
        doing: "Setting and reading the token",
        pictures: &[
            ("no_token_yet", "There is none yet", ""),
            ("no_terminal_for_the_token", "No terminal to type it on", ""),
            ("an_empty_token", "It is empty", ""),
            ("a_token_with_white_space", "It holds white space", ""),
            ("a_token_that_is_not_ascii", "It is not ASCII", "It goes through a header."),
            ("a_token_that_is_too_short", "It is short", ""),
            ("a_token_that_is_too_long", "It is long", ""),
            ("a_token_that_is_no_text", "What was piped in is no text", ""),
            ("a_token_by_hand", "Somebody wrote the parameter by hand", ""),
        ],
    },
    Room {
        doing: "Looking, going back, removing",
        pictures: &[
            ("no_log_without_an_instance", "There is no log", ""),
            ("a_silent_log", "The instance does not show its log", ""),
            ("nothing_to_open", "There is nothing to open", ""),
            ("nothing_to_go_back_to", "There is nothing to go back to", ""),
            ("nothing_ran_before", "Nothing ran before", ""),
            ("a_release_that_is_gone", "What ran before is no longer in the bucket", "The last ten stay there."),
            ("no_such_release", "There is no such release", ""),
            ("a_release_named_too_shortly", "A release named too shortly", ""),
            ("several_releases_that_begin_so", "Several releases begin so", ""),
            ("a_release_that_does_not_fit", "The release cannot run on this instance", ""),
            ("a_rollback_of_what_is_off", "The instance is off", ""),
            ("a_rollback_without_an_instance", "There is no instance", ""),
            ("termination_protection", "The instance is protected", ""),
            ("a_key_that_cannot_be_deleted", "The key file cannot be deleted", ""),
        ],
    },
    Room {
        doing: "Using the sandbox",
        pictures: &[
            ("no_python", "No Python", ""),
            ("an_old_python", "An old Python", ""),
            (
                "a_python_that_this_machine_lacks",
                "This machine does not have the image's Python",
                "The sandbox then uses the `python3` on `PATH`, for which the requirements may be wrong.",
            ),
            ("no_network_for_the_local_aws", "No network, the first time", ""),
            ("no_qemu", "No QEMU", ""),
            ("no_image_for_qemu", "No image for QEMU", ""),
            ("a_machine_that_qemu_is_not", "A machine that QEMU is not", ""),
            ("a_folder_that_cannot_be_made", "A folder that cannot be made", ""),
            ("a_path_that_is_too_long", "A path that is too long", ""),
            ("a_state_folder_that_cannot_be_used", "A file of the sandbox's cannot be written", ""),
            ("a_port_that_is_taken", "The port is taken", ""),
            ("the_local_aws_does_not_start", "It does not start", ""),
            ("the_emulator_does_not_start", "The emulator does not start", ""),
            ("the_local_aws_runs_with_other_machines", "It runs with other machines", ""),
            ("the_local_aws_runs_on_another_port", "It runs on another port", ""),
            ("the_local_aws_does_not_answer", "It does not answer", ""),
            ("a_command_that_is_not_there", "A program that it cannot start", "In the sandbox's log only."),
            ("a_metadata_service_that_is_not_there", "A metadata service that is away", "In the sandbox's log only."),
        ],
    },
];

/// Whether a picture of that name hangs anywhere.
pub fn has(name: &str) -> bool {
    names().any(|known| known == name)
}

/// All of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    let pictures = ROOMS.iter().flat_map(|room| room.pictures).map(|(name, ..)| *name);
    pictures.chain(REFUSED.iter().map(|(name, _)| *name))
}
