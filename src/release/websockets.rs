//! WebSockets and long polling of a WSGI app: each of them takes a thread for its whole life, and some need a single process.

use super::code;

/// The threads that `init` proposes for them.
pub const THREADS: u32 = 100;

/// The packages that serve them, with the name that is imported, and whether all requests of a client must reach the same process.
const PACKAGES: [(&str, &str, bool); 3] = [
    ("Flask-SocketIO", "flask_socketio", true),
    ("Flask-Sock", "flask_sock", false),
    ("simple-websocket", "simple_websocket", false),
];
/// The packages with threads of their own, which Flask-SocketIO prefers if they are installed.
const OTHERS: [&str; 2] = ["eventlet", "gevent"];

/// A package that serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// The package.
    pub package: &'static str,
    /// Whether it works with a single process only.
    pub single: bool,
    /// The file that imports it.
    pub file: String,
    /// The line.
    pub line: usize,
    /// Whether the source selects threads.
    threading: bool,
}

/// Finds the first package that is imported. `texts`: the modules' names and sources.
pub fn find<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Sockets> {
    let texts: Vec<_> = texts.into_iter().filter(|(file, _)| file.ends_with(".py")).collect();
    let threading = texts
        .iter()
        .flat_map(|(_, text)| code::lines(text))
        .any(|line| line.code.contains("async_mode") && line.strings.iter().any(|text| text == "threading"));
    PACKAGES.iter().find_map(|&(package, module, single)| {
        let imported = |(file, text): &(&str, &str)| {
            let (line, _) = code::imports(text).into_iter().find(|(_, name)| name == module)?;
            Some(Sockets { package, single, file: (*file).to_owned(), line, threading })
        };
        texts.iter().find_map(imported)
    })
}

impl Sockets {
    /// The reason why it does not work, if the app requires such a package. `requires`: whether the requirements list a package.
    pub fn trouble(&self, requires: impl Fn(&str) -> bool) -> Option<String> {
        let other = OTHERS.into_iter().find(|name| requires(name)).filter(|_| self.single && !self.threading)?;
        Some(format!(
            "{}:{} imports {}, which uses {other} if that is installed, but devopsctl runs the app in threads: remove {other} from the \
             requirements, or pass async_mode=\"threading\" to SocketIO",
            self.file, self.line, self.package
        ))
    }

    /// A warning about the number of processes.
    pub fn processes(&self, workers: u32) -> Option<String> {
        (self.single && workers > 1).then(|| {
            format!(
                "{}:{} imports {}, which needs all requests of a client in the same process: set `workers: 1` and `threads: {THREADS}` \
                 under app in deploy.yaml",
                self.file, self.line, self.package
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_needs_a_single_process_or_no_other_threads_is_found() {
        let of = |text: &'static str| find([("app.py", text), ("notes.txt", "import flask_sock")]);
        let sockets = of("import os\nfrom flask_socketio import SocketIO\nsocketio = SocketIO(app)\n").unwrap();
        assert_eq!((sockets.package, sockets.line), ("Flask-SocketIO", 2));
        assert!(sockets.processes(2).unwrap().starts_with("app.py:2 imports Flask-SocketIO"));
        assert_eq!(sockets.processes(1), None);
        assert!(sockets.trouble(|name| name == "gevent").unwrap().contains("remove gevent"));
        assert_eq!(sockets.trouble(|_| false), None);
        let threading =
            of("from flask_socketio import SocketIO\nsocketio = SocketIO(app, async_mode='threading')\n").unwrap();
        assert_eq!(threading.trouble(|_| true), None);
        let sock = of("from flask_sock import Sock\n").unwrap();
        assert_eq!((sock.processes(2), sock.trouble(|_| true)), (None, None));
        assert_eq!(of("import flask\n# import flask_sock\n"), None);
    }
}
