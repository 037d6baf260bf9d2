//! An instance's log, as the agent publishes it in the bucket (`agent/logs/publisher.py`): pure, except for the
//! requests.

use serde::Deserialize;
use serde_json::Value;

use crate::aws::{Aws, call, explain};
use crate::base::error::Result;
use crate::base::{names, secret};
use crate::resources::orders::Orders;
use crate::resources::{Tags, set_tags};

/// The kind of log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The app's output, with that of its processes beside the web server.
    App,
    /// The proxy's access log.
    Access,
    /// The agent's log.
    Agent,
    /// The output of the commands of releases.
    Release,
    /// The output of the web server alone (`web`), or of a process or a schedule, by its name.
    Named(String),
}

impl Source {
    /// The agent's name for it.
    pub fn name(&self) -> &str {
        match self {
            Self::App => "app",
            Self::Access => "access",
            Self::Agent => "agent",
            Self::Release => "release",
            Self::Named(name) => name,
        }
    }
}

/// The name of the web server's own log, and of its lines in the app's log.
pub const WEB: &str = "web";

/// The last lines, as published.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Window {
    /// The requests that it answers.
    pub asked: Vec<String>,
    /// The numbering of lines is constant while this value is the same.
    pub session: String,
    /// The orders whose commands print this, while they run and for a minute after that.
    pub of: Option<Orders>,
    /// The lines, the oldest first.
    pub lines: Vec<Line>,
    /// The program that printed each line, if the log is that of several: `web`, or a process's name.
    pub from: Vec<String>,
}

impl Window {
    /// The program that printed a line.
    pub fn origin(&self, line: &Line) -> Option<&str> {
        let at = self.lines.iter().position(|other| other.0 == line.0)?;
        self.from.get(at).map(String::as_str)
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line(
    /// Its number in the numbering.
    pub u64,
    /// When it was printed, in microseconds since 1970.
    pub u64,
    /// The line, masked.
    pub String,
);

/// The position of a reader.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    session: String,
    number: u64,
    at: u64,
}

impl Reader {
    /// The new lines of a window, and whether lines before them were missed.
    pub fn fresh(&mut self, window: &Window) -> (bool, Vec<Line>) {
        let same = self.session == window.session;
        let new = |line: &&Line| if same { line.0 > self.number } else { line.1 > self.at };
        let lines: Vec<Line> = window.lines.iter().filter(new).cloned().collect();
        let missed = same && lines.first().is_some_and(|line| line.0 > self.number + 1);
        if let Some(last) = lines.last() {
            (self.number, self.at) = (last.0, last.1.max(self.at));
        } else if !same {
            self.number = window.lines.last().map_or(0, |line| line.0);
        }
        self.session.clone_from(&window.session);
        (missed, lines)
    }
}

/// One line for a request or a warning of Caddy's JSON log; any other text unchanged.
pub fn access(text: &str) -> String {
    let Ok(entry) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let request = &entry["request"];
    let word = |value: &Value| value.as_str().map(str::to_owned);
    if let (true, Some(level), Some(message)) = (request.is_null(), word(&entry["level"]), word(&entry["msg"])) {
        let error = word(&entry["error"]).map_or_else(String::new, |error| format!(": {error}"));
        return format!("{level}: {message}{error}");
    }
    let parts =
        (word(&request["client_ip"]), word(&request["method"]), word(&request["uri"]), entry["status"].as_u64());
    let (Some(client), Some(method), Some(uri), Some(status)) = parts else { return text.to_owned() };
    let milliseconds = entry["duration"].as_f64().unwrap_or_default() * 1000.0;
    let size = entry["size"].as_u64().unwrap_or_default();
    format!("{client} {method} {uri} {status} {size} B {milliseconds:.0} ms")
}

/// Requests that an instance publishes a log for the next minute. Returns the request's id, which the answer repeats.
///
/// # Errors
/// The instance cannot be tagged.
pub async fn ask(aws: &Aws, instance: &str, source: &Source) -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let word = format!("{now}-{}", secret::random_hex(4)?);
    let tags = Tags::from([(names::TAG_LOGS.to_owned(), format!("{}/{word}", source.name()))]);
    let told = set_tags(aws, &[instance], &tags).await;
    told.map_err(|error| explain(format!("cannot tag the instance {instance}"), &error))?;
    Ok(word)
}

/// Reads the published log if it differs from `known`; returns it with its ETag.
///
/// # Errors
/// A call to S3 fails.
pub async fn look(
    aws: &Aws,
    (account, name): (&str, &str),
    instance: &str,
    source: &Source,
    known: &Option<String>,
) -> Result<Option<(Window, Option<String>)>> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let key = names::log_key(name, instance, source.name());
    let get = || {
        let get = aws.s3.get_object().bucket(&bucket).key(&key).expected_bucket_owner(account);
        get.set_if_none_match(known.clone()).send()
    };
    match call("s3:GetObject", get).await {
        Ok(answer) => {
            let mark = answer.e_tag;
            // An incomplete response is read again the next time.
            let body = answer.body.collect().await.map(|body| body.into_bytes()).unwrap_or_default();
            Ok(serde_json::from_slice(&body).ok().map(|window| (window, mark)))
        }
        Err(error) if error.absent() || error.status == Some(304) => Ok(None),
        Err(error) => Err(explain("cannot read the log", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(session: &str, lines: &[(u64, u64)]) -> Window {
        let lines = lines.iter().map(|&(number, at)| Line(number, at, format!("line {at}")));
        Window { session: session.into(), lines: lines.collect(), ..Window::default() }
    }

    fn read(reader: &mut Reader, window: &Window) -> (bool, Vec<u64>) {
        let (missed, lines) = reader.fresh(window);
        (missed, lines.into_iter().map(|line| line.1).collect())
    }

    #[test]
    fn each_line_is_read_once() {
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, &window("a", &[(1, 10), (2, 10), (3, 11)])), (false, vec![10, 10, 11]));
        assert_eq!(read(&mut reader, &window("a", &[(2, 10), (3, 11), (4, 11)])), (false, vec![11]));
        assert_eq!(read(&mut reader, &window("a", &[(4, 11)])), (false, vec![]));
    }

    #[test]
    fn missed_lines_are_detected() {
        let mut reader = Reader::default();
        read(&mut reader, &window("a", &[(1, 10)]));
        assert_eq!(read(&mut reader, &window("a", &[(5, 14), (6, 15)])), (true, vec![14, 15]));
    }

    #[test]
    fn another_numbering_continues_by_time() {
        let mut reader = Reader::default();
        read(&mut reader, &window("a", &[(1, 10), (2, 11)]));
        assert_eq!(read(&mut reader, &window("b", &[(1, 10), (2, 11)])), (false, vec![]));
        assert_eq!(read(&mut reader, &window("b", &[(1, 10), (2, 11), (3, 11)])), (false, vec![11]));
        assert_eq!(read(&mut reader, &window("c", &[(1, 11), (2, 12)])), (false, vec![12]));
    }

    #[test]
    fn a_request_is_one_line() {
        let entry = r#"{"level":"info","request":{"client_ip":"203.0.113.9","method":"GET","uri":"/a?b=1"},
            "duration":0.0144,"size":86,"status":401}"#;
        assert_eq!(access(entry), "203.0.113.9 GET /a?b=1 401 86 B 14 ms");
        let warning = r#"{"level":"warn","ts":1.5,"logger":"tls","msg":"stapling OCSP","error":"no responder"}"#;
        assert_eq!(access(warning), "warn: stapling OCSP: no responder");
        for other in ["plain", r#"{"msg": "something else"}"#, r#"{"request": 1}"#, "[]"] {
            assert_eq!(access(other), other);
        }
    }
}
