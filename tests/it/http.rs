//! A client that shares no connection between requests, and the token's header.

use std::sync::{Mutex, OnceLock};

use reqwest::Certificate;
use tokio::runtime::Runtime;

/// One runtime for all tests.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// The status of one GET, and what came with it.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

/// One GET, with a token or without.
#[track_caller]
pub fn get(url: &str, token: Option<&str>) -> Answer {
    try_get(url, token).unwrap_or_else(|error| panic!("{url}: {error:?}"))
}

/// One GET that may not be answered at all.
pub fn try_get(url: &str, token: Option<&str>) -> reqwest::Result<Answer> {
    ask(&client(), url, token)
}

/// One GET by this client.
pub fn ask(client: &reqwest::Client, url: &str, token: Option<&str>) -> reqwest::Result<Answer> {
    runtime().block_on(async {
        let mut request = client.get(url);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Token {token}"));
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.text().await? })
    })
}

/// Private authorities that these clients trust.
static TRUSTED: Mutex<Vec<Certificate>> = Mutex::new(Vec::new());

/// From now on, what goes back to one of these certificates is good.
pub fn trust(pem: &[u8]) {
    TRUSTED.lock().unwrap().extend(Certificate::from_pem_bundle(pem).unwrap());
}

/// A client with a pool of its own.
pub fn client() -> reqwest::Client {
    client_for(30)
}

/// One that waits no longer than that.
pub fn client_for(seconds: u64) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(seconds));
    match TRUSTED.lock().unwrap().clone() {
        none if none.is_empty() => client.build().unwrap(),
        some => client.tls_certs_only(some).build().unwrap(),
    }
}
