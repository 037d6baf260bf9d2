//! The document of `init`.

use std::path::PathBuf;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Version;

documents! {
    /// `init`: the findings, and the file that was written.
    Init {
        /// The version of the document.
        v: Version,
        /// The file.
        written: PathBuf,
        /// The deployment's name.
        name: String,
        /// The chosen app.
        app: Candidate,
        /// The app's folder relative to the file's; empty if it is the same.
        path: String,
        /// The WSGI or ASGI app: `module:callable`.
        web: String,
        /// The same, by its earlier name.
        wsgi: String,
        /// All apps, the most likely one first.
        candidates: Vec<Candidate>,
        /// The app's requirements; `null` if there are none.
        requirements: Option<Requirements>,
        /// The environment variable that the app reads the token from.
        token: Option<SeenAt>,
        /// The secrets that the app needs, as deploy.yaml lists them.
        secrets: Vec<NeededSecret>,
        /// The path of the health check.
        health: Option<SeenAt>,
        /// The Python that the project requires.
        python: Option<SeenAt>,
        /// The image, as deploy.yaml names it.
        image: String,
        /// Warnings.
        warnings: Vec<String>,
        /// The content of the file.
        text: String,
        /// The next command.
        next: String,
    }

    /// An app in the folder.
    Candidate {
        /// flask, django, bottle, falcon, fastapi, wsgi, asgi, …
        framework: String,
        /// Its module.
        module: String,
        /// Its name in the module.
        callable: String,
        /// Whether gunicorn can load it without changes.
        ready: bool,
        /// Where it is created.
        at: Place,
    }

    /// A line of the project.
    Place {
        /// The file, relative to the folder.
        file: String,
        /// The line, from 1.
        line: usize,
    }

    /// A finding, and its place.
    SeenAt {
        /// The finding.
        value: String,
        /// The file, relative to the folder.
        file: String,
        /// The line, from 1.
        line: usize,
    }

    /// A secret that the app needs.
    NeededSecret {
        /// The environment variable.
        name: String,
        /// Whether `up` generates it.
        generate: bool,
        /// Where the project names it.
        at: Place,
    }

    /// The app's requirements.
    Requirements {
        /// The file.
        file: String,
    }
}
