//! What runs on the instance, embedded: each release brings its agent along.

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../agent/", $name)))),*] };
}

/// Path below `agent/` in the archive, and content.
pub const FILES: &[(&str, &str)] = files![
    "agent.py",
    "aws.py",
    "bootstrap.py",
    "decide.py",
    "fleet.py",
    "generation.py",
    "gunicorn.conf.py",
    "places.py",
    "proof.py",
    "renewal.py",
    "report.py",
    "runner_process.py",
    "tasks.py",
    "worker.py",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn list(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn every_file_of_the_agent_is_embedded() {
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent");
        let mut there = list(&agent);
        let systemd = agent.join("systemd");
        if systemd.is_dir() {
            there.extend(list(&systemd));
        }
        for path in there.iter().filter(|path| path.is_file()) {
            let name = path.strip_prefix(&agent).unwrap().to_str().unwrap();
            assert!(FILES.iter().any(|(embedded, _)| *embedded == name), "{name} is not embedded");
        }
    }
}
