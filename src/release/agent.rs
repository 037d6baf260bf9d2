//! What runs on the instance, embedded: each release brings its agent along.
//!
//! The files at the top are the entry points. Agents of other releases, the boot programs of older instances and `devopsctl run` start
//! them by these paths, so they stay where they are; nothing else of another release's agent is known.

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../agent/", $name)))),*] };
}

/// Path below `agent/` in the archive, and content.
pub const FILES: &[(&str, &str)] = files![
    "agent.py",
    "bytecode.py",
    "command.py",
    "process.py",
    "run.py",
    "serve.py",
    "app_role/__init__.py",
    "app_role/credentials.py",
    "app_role/server.py",
    "boot/__init__.py",
    "boot/aws.py",
    "boot/bootstrap.py",
    "boot/self_update.py",
    "boot/validate.py",
    "data/__init__.py",
    "data/disk.py",
    "data/runner.py",
    "data/volume.py",
    "logs/__init__.py",
    "logs/masking.py",
    "logs/publisher.py",
    "logs/sources.py",
    "orders/__init__.py",
    "orders/decide.py",
    "orders/orders.py",
    "orders/record.py",
    "orders/references.py",
    "orders/report.py",
    "orders/reporter.py",
    "orders/secrets.py",
    "orders/steps.py",
    "orders/tasks.py",
    "processes/__init__.py",
    "processes/background.py",
    "processes/command.py",
    "processes/generation.py",
    "processes/generations.py",
    "processes/one_off.py",
    "processes/process.py",
    "processes/release_commands.py",
    "processes/runner_process.py",
    "processes/runner_systemd.py",
    "processes/supervisor.py",
    "proxy/__init__.py",
    "proxy/caddy.py",
    "proxy/certificates.py",
    "proxy/listener_reload.py",
    "proxy/proxy.py",
    "proxy/restore.py",
    "proxy/runner.py",
    "proxy/static_files.py",
    "proxy/static_routes.py",
    "schedule/__init__.py",
    "schedule/cron.py",
    "schedule/entry.py",
    "schedule/record.py",
    "schedule/schedule.py",
    "ssh/__init__.py",
    "ssh/keys.py",
    "ssh/sshd.py",
    "system/__init__.py",
    "system/apply_updates.py",
    "system/kernel.py",
    "system/paths.py",
    "system/systemd.py",
    "system/untrusted.py",
    "system/updates.py",
    "units/app-wake.service",
    "units/app.socket",
    "units/app@.service",
    "units/command@.service",
    "units/data.conf",
    "units/data@.service",
    "units/devopsctl-agent.service",
    "units/devopsctl-updates.service",
    "units/devopsctl-updates.timer",
    "units/devopsctl.slice",
    "units/process@.service",
    "units/proxy.service",
    "units/run.conf",
    "units/sandbox.conf",
    "workers/__init__.py",
    "workers/asgi.py",
    "workers/confinement.py",
    "workers/gunicorn.conf.py",
    "workers/guard.py",
    "workers/landlock.py",
    "workers/one_off.py",
    "workers/programs.py",
    "workers/proof.py",
    "workers/response_spool.py",
    "workers/shell.py",
    "workers/unavailable.py",
    "workers/variables.py",
    "workers/worker.py",
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The files below a folder, by their path in it.
    fn files(folder: &Path, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if !entry.file_type().unwrap().is_dir() {
                found.push(name);
            } else if !name.ends_with("__pycache__") && name != "tests" {
                found.extend(files(&entry.path(), &format!("{name}/")));
            }
        }
        found
    }

    #[test]
    fn every_file_of_the_agent_is_embedded() {
        for name in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("agent"), "") {
            // The user-data alone needs this one.
            let embedded = name == "boot/install.sh" || FILES.iter().any(|(embedded, _)| *embedded == name);
            assert!(embedded, "{name} is not embedded");
        }
    }

    #[test]
    fn the_entry_points_of_other_releases_stay() {
        let top: Vec<&str> = FILES.iter().map(|(name, _)| *name).filter(|name| !name.contains('/')).collect();
        assert_eq!(top, ["agent.py", "bytecode.py", "command.py", "process.py", "run.py", "serve.py"]);
    }
}
