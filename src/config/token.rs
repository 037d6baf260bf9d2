//! `token`: what checks the token, and where none is needed.

/// The token, and how to check it.
#[derive(Clone, Debug)]
pub struct Token {
    /// The environment variable that the app reads it from.
    pub env: String,
    /// The part that checks it.
    pub check: Check,
    /// Paths that need no token; if the app checks it, paths of static files. One that ends with `/*` means all paths below.
    pub open: Vec<String>,
    /// Whether CORS preflight requests need no token, if the proxy checks it.
    pub open_preflight: bool,
    /// The path to test the check at.
    pub path: String,
}

impl Token {
    /// Whether a path needs no token although it is checked in front of the app. `agent/workers/guard.py` has the same rule.
    pub fn is_open(&self, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        self.open.iter().any(|open| match open.strip_suffix('*') {
            Some(folder) => path.starts_with(folder),
            None => path == open,
        })
    }
}

/// The part that checks the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// The app. An app that accepts requests without the token is refused.
    #[default]
    App,
    /// The proxy in front of the app, which can be any app.
    Proxy,
    /// Nothing: the app is public.
    None,
}

impl Check {
    /// All of them, the default first.
    pub const ALL: [Check; 3] = [Check::App, Check::Proxy, Check::None];

    /// The name in `deploy.yaml`.
    pub const fn name(self) -> &'static str {
        match self {
            Check::App => "app",
            Check::Proxy => "proxy",
            Check::None => "none",
        }
    }
}
