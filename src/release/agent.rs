//! What runs on the instance, embedded: each release brings its agent along.

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../agent/", $name)))),*] };
}

/// Path below `agent/` in the archive, and content.
pub const FILES: &[(&str, &str)] = files![
    "agent.py",
    "app-wake.service",
    "app.socket",
    "app@.service",
    "apply_updates.py",
    "aws.py",
    "bootstrap.py",
    "bytecode.py",
    "caddy.py",
    "certificates.py",
    "decide.py",
    "devopsctl-agent.service",
    "devopsctl-updates.service",
    "devopsctl-updates.timer",
    "devopsctl.slice",
    "edge.py",
    "edge.service",
    "edge_runner.py",
    "fleet.py",
    "generation.py",
    "gunicorn.conf.py",
    "hush.py",
    "landlock.py",
    "logs.py",
    "masking.py",
    "outgoing.py",
    "places.py",
    "processes.py",
    "proof.py",
    "renewal.py",
    "report.py",
    "restore.py",
    "runner_process.py",
    "runner_systemd.py",
    "serve.py",
    "ssh.py",
    "sshd.py",
    "supervisor.py",
    "systemd.py",
    "tasks.py",
    "unavailable.py",
    "untrusted.py",
    "updates.py",
    "validate.py",
    "worker.py",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_file_of_the_agent_is_embedded() {
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent");
        let entries = fs::read_dir(&agent).unwrap().map(|entry| entry.unwrap());
        for entry in entries.filter(|entry| entry.file_type().unwrap().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            // This one is the user-data's alone.
            let embedded = name == "install.sh" || FILES.iter().any(|(embedded, _)| *embedded == name);
            assert!(embedded, "{name} is not embedded");
        }
    }
}
