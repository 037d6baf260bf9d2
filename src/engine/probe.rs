//! Checks the running app from outside: it must answer with the token, and refuse without it.

use std::net::Ipv4Addr;
use std::time::Duration;

use regex::Regex;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use crate::aws::Aws;
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::{Exit, Failing, Failure, Result, innermost};
use crate::base::secret;
use crate::config::{Check, Deployment, Root};

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The app answers as expected.
    Yes,
    /// The security group allows only other clients.
    NotFromHere,
}

/// The app as its clients reach it.
pub struct App<'a> {
    deployment: &'a Deployment,
    /// Its URL.
    pub url: String,
    /// The value of the Host header.
    host: String,
}

impl<'a> App<'a> {
    /// The app at a public address.
    ///
    /// # Errors
    /// The sandbox does not answer.
    pub async fn at(aws: &Aws, deployment: &'a Deployment, ip: Ipv4Addr) -> Result<Self> {
        let network = &deployment.network;
        let mut host = network.host(ip);
        if network.front() != 443 && network.front() != 80 {
            host = format!("{host}:{}", network.front());
        }
        Ok(Self { deployment, url: aws.url(ip, network).await?, host })
    }

    /// Sends requests with the token, without a token and with a wrong token.
    ///
    /// # Errors
    /// The app does not answer, or not as expected.
    pub async fn check(&self, token: &str) -> Result<Seen> {
        let path = &self.deployment.health.path;
        let Some(answer) = self.get(path, Some(token)).await? else { return Ok(Seen::NotFromHere) };
        if !(answer.status.is_success() || answer.status.is_redirection()) {
            let mut failure = self.odd(path, &answer, "the right token");
            if !answer.text.is_empty() {
                failure = failure.because(format!("its answer begins: {}", answer.text));
            }
            return Err(failure.because(self.blame()).next(self.yourself(path)));
        }
        if self.deployment.token.check != Check::None {
            let right = self.right(token).await?;
            self.refuses(None, "no token", right.as_ref()).await?;
            self.refuses(Some(&secret::generate()?), "a wrong token", right.as_ref()).await?;
        }
        Ok(Seen::Yes)
    }

    /// Checks that a token is no longer accepted.
    ///
    /// # Errors
    /// The token is still accepted.
    pub async fn refused(&self, current: &str, old: &str) -> Result<()> {
        self.refuses(Some(old), "the old token", self.right(current).await?.as_ref()).await
    }

    /// Whether another token gets the same answer as the current one; `None` if this machine is not allowed.
    ///
    /// # Errors
    /// No answer.
    pub async fn takes(&self, current: &str, other: &str) -> Result<Option<bool>> {
        let right = self.right(current).await?;
        let answer = self.get(&self.deployment.token.path, Some(other)).await?;
        let same = |(right, answer): (Answer, Answer)| {
            right.status == answer.status && (right.place.is_none() || right.place == answer.place)
        };
        Ok(right.zip(answer).map(same))
    }

    /// The answer with the token, against which a refusal is compared. The target of a redirect that differs each time is
    /// dropped: it does not show whether the app knows the caller.
    async fn right(&self, token: &str) -> Result<Option<Answer>> {
        let path = &self.deployment.token.path;
        let mut right = self.get(path, Some(token)).await?;
        if let Some(first) = right.as_mut().filter(|answer| answer.status.is_redirection()) {
            let again = self.get(path, Some(token)).await?;
            first.place =
                first.place.take().filter(|place| again.is_some_and(|again| again.place.as_ref() == Some(place)));
        }
        Ok(right)
    }

    async fn refuses(&self, token: Option<&str>, which: &str, right: Option<&Answer>) -> Result<()> {
        let path = &self.deployment.token.path;
        let (Some(answer), Some(right)) = (self.get(path, token).await?, right) else { return Ok(()) };
        if is_guarded(&answer, right) {
            return Ok(());
        }
        let failure = self.odd(path, &answer, which).because(match (answer.status, right.status) {
            (status, _) if status.is_success() => "anyone who knows the address can use the app".to_owned(),
            (status, right) if status.is_redirection() && right.is_redirection() => {
                "the right token gets a redirect that does not go elsewhere, so anyone who knows the address can use the app".to_owned()
            }
            (status, right) if status == right => "the right token gets the same answer".to_owned(),
            (_, right) => format!("the right token gets {}; an app that refuses answers 401 or 403", right.as_u16()),
        });
        Err(failure.next(
            "make the app refuse it, or set token.check in deploy.yaml: `proxy` to have the token checked in front of the app, `none` if the app is meant to be public",
        ))
    }

    fn odd(&self, path: &str, answer: &Answer, which: &str) -> Failing {
        Failure::new(Exit::Unhealthy, format!("{}{path} answers {} to {which}", self.url, answer.status.as_u16()))
    }

    /// The possible cause if the instance saw another answer. Over TLS, or on this machine, nothing is on the network
    /// path.
    fn blame(&self) -> &'static str {
        if self.url.starts_with("https:") || self.url.starts_with("http://127.") {
            "the instance reports the app as healthy, but the app or its proxy answers differently from outside"
        } else {
            "the instance reports the app as healthy, but the answer from outside differs: it comes from the app, its \
             proxy, or a device on the network path"
        }
    }

    fn yourself(&self, path: &str) -> String {
        yourself(&format!("{}{path}", self.url))
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Result<Option<Answer>> {
        reach(&format!("{}{path}", self.url), &self.host, token, self.deployment).await
    }
}

/// Whether an answer without the token refuses the caller; `right` is the answer with it. The agent has the same rule
/// (`proof.py`), and both are tested by `tests/guarded.json`.
fn is_guarded(answer: &Answer, right: &Answer) -> bool {
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => answer.status != right.status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => false,
        status if status.is_redirection() && right.status.is_redirection() => {
            answer.place.as_ref().zip(right.place.as_ref()).is_some_and(|(place, right)| place != right)
        }
        status => (status.is_redirection() || status.is_client_error()) && right.status.is_success(),
    }
}

/// The path of a redirect's target: the same page may have another host or query. `asked`: the requested URL.
fn place(asked: &str, location: &str) -> Option<String> {
    Some(Url::parse(asked).ok()?.join(location).ok()?.path().to_owned())
}

/// Checks that HTTP is redirected to HTTPS.
///
/// # Errors
/// It is not.
pub async fn sent_on(app: &App<'_>, url: &str) -> Result<()> {
    let asked = format!("{url}{}", app.deployment.health.path);
    match reach(&asked, &app.host, None, app.deployment).await? {
        Some(answer) if answer.status != StatusCode::PERMANENT_REDIRECT => {
            let what = format!("{asked} answers {} instead of 308 (redirect to HTTPS)", answer.status.as_u16());
            Err(Failure::new(Exit::Unhealthy, what)
                .because("a device on the network path answers instead")
                .next(yourself(&asked)))
        }
        _ => Ok(()),
    }
}

fn yourself(url: &str) -> String {
    format!("check what answers, from here and from another network: curl -i {url}")
}

/// An answer and the beginning of its text.
struct Answer {
    status: StatusCode,
    /// The target of a redirect.
    place: Option<String>,
    text: String,
}

/// How much of an answer is read, and how many characters of its text are shown.
const BODY_BYTES: usize = 4096;
const WORDS: usize = 200;

impl Answer {
    /// `token`: the token that was sent. An app may repeat it, so it is masked.
    async fn read(mut response: reqwest::Response, token: Option<&str>) -> Self {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = header(CONTENT_TYPE).to_lowercase();
        let location = Some(header(LOCATION)).filter(|location| status.is_redirection() && !location.is_empty());
        let place = location.and_then(|location| place(response.url().as_str(), location));
        let shown = kind.is_empty() || kind.contains("text/") || kind.contains("json");
        let shown = shown && header(CONTENT_ENCODING).is_empty() && !status.is_success();
        let mut body = Vec::new();
        // An incomplete answer is shown as far as it was received.
        while shown
            && body.len() < BODY_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        let text = masked(&String::from_utf8_lossy(&body), token);
        Self { status, place, text: words(&text, kind.contains("html")) }
    }
}

/// The text without the token. Empty if the app may encode the token (as HTML, as a URL). A token that may be cut off
/// at the end is removed too.
fn masked(text: &str, token: Option<&str>) -> String {
    let Some(token) = token else { return text.to_owned() };
    if !token.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c)) {
        return String::new();
    }
    let text = text.replace(token, "[token]");
    let end = text.len().saturating_sub(if text.len() < BODY_BYTES { 0 } else { token.len() });
    text[..text.floor_char_boundary(end)].to_owned()
}

/// The beginning of a text, as one line; HTML without its tags.
fn words(text: &str, html: bool) -> String {
    let hidden = Regex::new(r"(?is)<style\b.*?</style\s*>|<script\b.*?</script\s*>|<[^>]*>").expect("a regex");
    let text = if html { hidden.replace_all(text, " ") } else { text.into() };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// How long to retry while an instance answers 503: its proxy does so while the app restarts.
const UNAVAILABLE: Duration = Duration::from_secs(15);

/// One GET. A new association of an address may take some seconds to take effect.
async fn reach(url: &str, host: &str, token: Option<&str>, deployment: &Deployment) -> Result<Option<Answer>> {
    let open = deployment.network.allow.iter().any(|block| block.prefix_len() == 0);
    let patience = Duration::from_secs(if open { 60 } else { 8 });
    let mut backoff = Backoff::polling(patience, Duration::from_secs(2));
    let mut unavailable = Backoff::polling(UNAVAILABLE, Duration::from_secs(1));
    loop {
        let error = match get(url, host, token, deployment.network.acme.root.as_ref()).await {
            Ok(answer)
                if answer.status == StatusCode::SERVICE_UNAVAILABLE && unavailable.wait().await == Retry::Again =>
            {
                continue;
            }
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        if backoff.wait().await == Retry::Again {
            continue;
        }
        if !open {
            return Ok(None);
        }
        return Err(Failure::new(Exit::Unhealthy, format!("cannot reach {url} from here"))
            .because(innermost(&error))
            .because(
                "the instance reports the app as healthy, so the network path is blocked: this network's firewall, a \
                      network ACL, the subnet's route to the internet, or VPC Block Public Access",
            )
            .next("try from another network; then check the subnet's route table and network ACL in the VPC console"));
    }
}

/// `root`: the root certificates of a private CA.
async fn get(url: &str, host: &str, token: Option<&str>, root: Option<&Root>) -> reqwest::Result<Answer> {
    // A new client for each request: no connection is reused, so each request may reach another process.
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(15));
    if let Some(root) = root {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(root.pem.as_bytes())?);
    }
    let mut request = client.build()?.get(url);
    if url.starts_with("http:") {
        // Clients do not use the sandbox's own port, so the Host header is set. An HTTPS URL already has the name.
        request = request.header(HOST, host);
    }
    if let Some(token) = token {
        request = request.header("Authorization", format!("Token {token}"));
    }
    Ok(Answer::read(request.send().await?, token).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_differs_from_the_answer_with_the_token() {
        #[derive(serde::Deserialize)]
        struct Case {
            without: (u16, Option<String>),
            with: (u16, Option<String>),
            guarded: bool,
        }
        let answer = |(status, location): &(u16, Option<String>)| Answer {
            status: StatusCode::from_u16(*status).unwrap(),
            place: location.as_ref().and_then(|location| place("https://app.example/shop/?page=2", location)),
            text: String::new(),
        };
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/guarded.json")).unwrap();
        assert!(cases.len() > 20);
        for Case { without, with, guarded } in cases {
            assert_eq!(is_guarded(&answer(&without), &answer(&with)), guarded, "{without:?}, {with:?}");
        }
    }

    #[test]
    fn a_repeated_token_is_masked() {
        assert_eq!(masked("no: secret-1.", Some("secret-1")), "no: [token].");
        assert_eq!(masked("no: a&amp;b", Some("a&b")), "");
        let cut = masked(&("x".repeat(BODY_BYTES) + "secr"), Some("secret-1"));
        assert!(cut.ends_with('x') && cut.len() == BODY_BYTES - 4);
    }

    #[test]
    fn only_the_beginning_of_an_answer_is_shown() {
        assert_eq!(words("<style>p {}</style><h1>Bad\n Request</h1> <p>(400)", true), "Bad Request (400)");
        assert_eq!(words("a <b>\n", false), "a <b>");
        assert_eq!(words(&"ü".repeat(300), false), format!("{}...", "ü".repeat(200)));
        assert_eq!(words(" \n", false), "");
    }
}
