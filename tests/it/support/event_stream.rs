//! A client of server-sent events.

use super::http::{client_for, runtime};

/// A response that has no end of its own.
pub struct EventStream {
    response: reqwest::Response,
    read: String,
}

impl EventStream {
    /// Opens the stream, which must begin at once.
    #[track_caller]
    pub fn open(url: &str, token: &str) -> Self {
        let request = client_for(120).get(url).header("Authorization", format!("Token {token}"));
        let response =
            runtime().block_on(async { request.send().await }).unwrap_or_else(|error| panic!("{url}: {error:?}"));
        assert_eq!(response.status(), 200, "{url}");
        assert!(response.headers()["Content-Type"].to_str().unwrap().starts_with("text/event-stream"));
        Self { response, read: String::new() }
    }

    /// Reads until a text arrives that was not there before.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) {
        self.read.clear();
        while !self.read.contains(text) {
            assert!(self.next().unwrap(), "the stream ends without {text}: {}", self.read);
        }
    }

    /// Reads until the stream ends, which must be in an orderly way.
    #[track_caller]
    pub fn read_to_end(mut self) -> String {
        while self.next().unwrap() {}
        self.read
    }

    /// Reads the next piece. Returns whether there is one.
    fn next(&mut self) -> reqwest::Result<bool> {
        let piece = runtime().block_on(self.response.chunk())?;
        self.read.push_str(&String::from_utf8_lossy(piece.as_deref().unwrap_or_default()));
        Ok(piece.is_some())
    }
}
