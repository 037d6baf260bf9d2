//! The processes and threads that serve the app: by `deploy.yaml`, else by the kind of the app and the size of the instance.

use std::fmt;

use crate::aws::{Size, size};
use crate::config::Deployment;

/// The memory of the instance for each worker. During a change two generations share 85 % of it, so each worker may use about 400 MB.
const MIB_EACH: u32 = 1024;
/// The number of workers on a small instance, and on one whose size is not known. The second one serves while the first one is busy.
const LEAST: u32 = 2;
/// The largest default. Each thread can have a connection to the database, which allows some hundred of them.
const MOST: u32 = 16;

/// The processes of one generation of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    /// Whether the app is ASGI, as far as its source shows.
    pub asgi: bool,
    /// The number of gunicorn's workers.
    pub workers: u32,
    /// The number of threads in each, for a WSGI app.
    pub threads: u32,
}

impl Processes {
    /// The processes of a deployment.
    pub fn of(deployment: &Deployment, asgi: bool) -> Self {
        let app = &deployment.app;
        let workers = app.workers.unwrap_or_else(|| workers(size(&deployment.instance.kind), asgi));
        Self { asgi, workers, threads: app.threads }
    }
}

/// As many workers as the memory allows and the processors can use: an event loop uses one, and a worker with threads waits about half
/// of the time (<https://docs.gunicorn.org/en/stable/design.html#how-many-workers>).
fn workers(size: Option<Size>, asgi: bool) -> u32 {
    let Some(Size { vcpus, mib }) = size else { return LEAST };
    let useful = if asgi { vcpus } else { 2 * vcpus + 1 };
    (mib / MIB_EACH).min(useful).clamp(LEAST, MOST)
}

impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, s) = (if self.asgi { "ASGI" } else { "WSGI" }, if self.workers == 1 { "" } else { "s" });
        write!(f, "{kind}, {} worker{s}", self.workers)?;
        match (self.asgi, self.threads) {
            (true, _) => Ok(()),
            (false, 1) => f.write_str(" with one thread each"),
            (false, threads) => write!(f, " with {threads} threads each"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_number_of_workers_fits_the_instance() {
        for (kind, wsgi, asgi) in [
            ("t3.nano", 2, 2),
            ("t3.micro", 2, 2),
            ("t3.small", 2, 2),
            ("t3.medium", 4, 2),
            ("t3.large", 5, 2),
            ("t3.xlarge", 9, 4),
            ("t3.2xlarge", 16, 8),
            ("c7g.medium", 2, 2),
            ("c7g.large", 4, 2),
            ("c7g.16xlarge", 16, 16),
            ("x9.unknown", 2, 2),
        ] {
            assert_eq!((workers(size(kind), false), workers(size(kind), true)), (wsgi, asgi), "{kind}");
        }
        let page = include_str!("../../docs/APP-BEHAVIOUR.md");
        for kind in ["t3.medium", "t3.large", "t3.xlarge", "t3.2xlarge", "c7g.large"] {
            let of = |asgi| workers(size(kind), asgi);
            let gib = size(kind).map_or(0, |size| size.mib / 1024);
            let row = format!("| {kind} | {gib} GiB | {} × 4 | {} |", of(false), of(true));
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn deploy_yaml_wins_and_both_are_shown() {
        let mut deployment = crate::config::named("shop").unwrap();
        deployment.instance.kind = "t3.medium".into();
        assert_eq!(Processes::of(&deployment, false).to_string(), "WSGI, 4 workers with 4 threads each");
        assert_eq!(Processes::of(&deployment, true).to_string(), "ASGI, 2 workers");
        deployment.app.workers = Some(1);
        assert_eq!(Processes::of(&deployment, true).to_string(), "ASGI, 1 worker");
        deployment.app.threads = 1;
        assert_eq!(Processes::of(&deployment, false).to_string(), "WSGI, 1 worker with one thread each");
    }
}
