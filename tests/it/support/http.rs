//! An HTTP client with a new connection for each request, and the header with the token.

use std::sync::{Mutex, OnceLock};

use reqwest::Certificate;
use tokio::runtime::Runtime;

/// One runtime for all tests.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// The response to a GET.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

/// A GET with or without a token.
#[track_caller]
pub fn get(url: &str, token: Option<&str>) -> Answer {
    try_get(url, token).unwrap_or_else(|error| panic!("{url}: {error:?}"))
}

/// A GET that may fail.
pub fn try_get(url: &str, token: Option<&str>) -> reqwest::Result<Answer> {
    ask(&client(), url, token)
}

/// A GET with this client.
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

/// Private certificate authorities that the clients trust.
static TRUSTED: Mutex<Vec<Certificate>> = Mutex::new(Vec::new());

/// Trusts these root certificates from now on.
pub fn trust(pem: &[u8]) {
    TRUSTED.lock().unwrap().extend(Certificate::from_pem_bundle(pem).unwrap());
}

/// A client with its own connection pool.
pub fn client() -> reqwest::Client {
    client_for(30)
}

/// A client with this timeout.
pub fn client_for(seconds: u64) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(seconds));
    match TRUSTED.lock().unwrap().clone() {
        none if none.is_empty() => client.build().unwrap(),
        some => client.tls_certs_only(some).build().unwrap(),
    }
}
