//! The instance metadata service (IMDSv2), one per machine.
//!
//! A process machine reaches it on a loopback port, where other users can connect too. So its URL has a secret path, and a
//! request with another path, another host or a browser's headers is refused. A virtual machine reaches it through a Unix socket
//! in its private folder.
//!
//! It answers from [`AwsState`], so a changed tag is visible at once and polling costs no call. Credentials are those of the role
//! in the associated instance profile. Without an association there are none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::aws_state::{AwsState, Instance};
use super::http::{self, by_browser, same_secret};
use super::secret;

/// The age after which credentials are renewed. They are valid for six hours, and AWS renews them well before their end.
const RENEWAL: Duration = Duration::from_secs(3600);
/// The MAC address of the only network interface.
pub const MAC: &str = "02:00:00:00:00:01";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const LONGEST_TTL: u64 = 21_600;

/// The service of one machine. Dropping it ends the service.
pub struct Metadata {
    /// Replaces `http://169.254.169.254`; empty if the service has a socket.
    endpoint: String,
    task: JoinHandle<()>,
}

/// The loopback address of a service, and the secret prefix of its paths.
struct Location {
    address: SocketAddr,
    secret: String,
}

struct Service {
    aws_state: Arc<AwsState>,
    instance: String,
    /// `None`: the service has a socket in a private folder.
    location: Option<Location>,
    tokens: Mutex<HashMap<String, Instant>>,
    /// The association, the time and the response.
    credentials: tokio::sync::Mutex<Option<(String, Instant, Bytes)>>,
}

impl Metadata {
    /// Starts a service on loopback.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn on_loopback(aws_state: Arc<AwsState>, instance: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let location = Location { address: listener.local_addr()?, secret: secret() };
        let endpoint = format!("http://{}/{}", location.address, location.secret);
        Ok(Self { endpoint, task: serve(aws_state, instance, Some(location), listener) })
    }

    /// Starts a service on a Unix socket in a private folder.
    ///
    /// # Errors
    /// When the socket cannot be created.
    pub fn on_socket(aws_state: Arc<AwsState>, instance: &str, socket: &Path) -> std::io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        Ok(Self { endpoint: String::new(), task: serve(aws_state, instance, None, listener) })
    }

    /// Replaces `http://169.254.169.254`. It is a secret, because it gives access to the role's credentials.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn serve(
    aws_state: Arc<AwsState>,
    instance: &str,
    location: Option<Location>,
    listener: impl Listener,
) -> JoinHandle<()> {
    let instance = instance.to_owned();
    let service = Service { aws_state, instance, location, tokens: Mutex::default(), credentials: Default::default() };
    let service = Arc::new(service);
    tokio::spawn(http::serve(listener, move |request| answer(service.clone(), request)))
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(service: Arc<Service>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let path = match &service.location {
        Some(location) => location.path(&request),
        None => Some(request.uri.path()),
    };
    let Some(path) = path else { return http::refused() };
    let Ok(view) = service.aws_state.current().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Some(instance) = view.instance(&service.instance) else { return StatusCode::NOT_FOUND.into_response() };
    if !instance.metadata.enabled {
        return StatusCode::FORBIDDEN.into_response();
    }
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    if path == "/latest/api/token" {
        return token(&service, &request.method, header(TTL_HEADER));
    }
    if !service.accepts(header(TOKEN_HEADER)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if request.method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match service.read(instance, path).await {
        Some(body) => body.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Location {
    /// The path of a request without the secret, if the machine itself sent the request.
    fn path<'a>(&self, request: &'a Parts) -> Option<&'a str> {
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let host = hosts.next()?.as_bytes() == self.address.to_string().as_bytes() && hosts.next().is_none();
        let (secret, path) = request.uri.path().strip_prefix('/')?.split_at_checked(self.secret.len())?;
        let authorized = same_secret(secret.as_bytes(), self.secret.as_bytes());
        let direct = request.uri.authority().is_none() && !by_browser(&request.headers);
        (authorized && host && direct && path.starts_with('/')).then_some(path)
    }
}

fn token(service: &Service, method: &Method, ttl: Option<&str>) -> Response {
    if method != Method::PUT {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some(ttl) = ttl.and_then(|ttl| ttl.parse().ok()).filter(|ttl| (1..=LONGEST_TTL).contains(ttl)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let token = secret();
    let now = Instant::now();
    let mut tokens = service.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    tokens.retain(|_, until| *until > now);
    tokens.insert(token.clone(), now + Duration::from_secs(ttl));
    ([(TTL_HEADER, ttl.to_string())], token).into_response()
}

impl Service {
    fn accepts(&self, token: Option<&str>) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        token.and_then(|token| tokens.get(token)).is_some_and(|until| *until > Instant::now())
    }

    async fn read(&self, instance: &Instance, path: &str) -> Option<Bytes> {
        let path = without_version(path)?;
        let profile = instance.profile.as_ref();
        let role = profile.and_then(|profile| profile.role.as_deref());
        match path {
            "user-data" if instance.user_data => {
                self.aws_state.emulator().ask(&format!("user-data?instance={}", self.instance)).await.ok()?
            }
            path => match path.strip_prefix("meta-data/iam/security-credentials/") {
                Some(name) if Some(name) == role => self.credentials(&profile?.association).await,
                _ => find(&facts(instance), path).map(Bytes::from),
            },
        }
    }

    /// The role's credentials, cached until they are renewed.
    async fn credentials(&self, association: &str) -> Option<Bytes> {
        let mut kept = self.credentials.lock().await;
        if let Some((made_for, made, body)) = kept.as_ref()
            && made_for == association
            && made.elapsed() < RENEWAL
        {
            return Some(body.clone());
        }
        let body = self.aws_state.emulator().ask(&format!("credentials?instance={}", self.instance)).await.ok()??;
        *kept = Some((association.to_owned(), Instant::now(), body.clone()));
        Some(body)
    }
}

/// The path below `/latest/` or below a version's date. All versions are the same here.
fn without_version(path: &str) -> Option<&str> {
    let (version, path) = path.strip_prefix('/')?.split_once('/')?;
    let dated = version.len() == 10 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    (dated || version == "latest").then_some(path)
}

/// The texts of the service by path, except user-data and credentials, which are read on request.
fn facts(instance: &Instance) -> BTreeMap<String, String> {
    let fact = |path: &str, text: &dyn ToString| (format!("meta-data/{path}"), text.to_string());
    let mut facts = BTreeMap::from([
        fact("ami-id", &instance.image),
        fact("instance-id", &instance.id),
        fact("instance-type", &instance.instance_type),
        fact("mac", &MAC),
        fact(&format!("network/interfaces/macs/{MAC}/device-number"), &0),
        fact(&format!("network/interfaces/macs/{MAC}/mac"), &MAC),
        fact("placement/availability-zone", &instance.zone),
        fact("placement/region", &instance.region),
        fact("services/domain", &"amazonaws.com"),
        fact("services/partition", &"aws"),
    ]);
    facts.extend(instance.private_ip.map(|ip| fact("local-ipv4", &ip)));
    facts.extend(instance.public_ip.map(|ip| fact("public-ipv4", &ip)));
    facts.insert("dynamic/instance-identity/document".to_owned(), identity(instance));
    if let Some(key) = &instance.key {
        facts.extend([
            fact(&format!("public-keys/0={}", key.name), &""),
            fact("public-keys/0/openssh-key", &format!("{}\n", key.public.trim_end())),
        ]);
    }
    if let Some(profile) = &instance.profile {
        let info = serde_json::json!({
            "Code": "Success", "InstanceProfileArn": profile.arn, "InstanceProfileId": profile.id,
        });
        facts.extend([fact("iam/info", &info)]);
        facts.extend(profile.role.iter().map(|role| fact(&format!("iam/security-credentials/{role}"), &"")));
    }
    if instance.metadata.tags {
        facts.extend(instance.tags.iter().map(|(key, value)| fact(&format!("tags/instance/{key}"), value)));
    }
    facts
}

/// The text at a path, or the list of the names below it: one per line, folders with a final `/`.
fn find(facts: &BTreeMap<String, String>, path: &str) -> Option<String> {
    if let Some(text) = facts.get(path) {
        return Some(text.clone());
    }
    let folder = match path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    };
    let below = facts.keys().filter_map(|fact| fact.strip_prefix(&folder));
    let names: BTreeSet<&str> =
        below.map(|rest| rest.find('/').map_or(rest, |slash| rest.get(..=slash).unwrap_or(rest))).collect();
    let keys = names.iter().filter_map(|name| name.split_once('=').map(|(number, _)| format!("{number}/")));
    // A key is listed as 0=NAME, but its path is 0/.
    let hidden: BTreeSet<String> = keys.collect();
    let lines: Vec<&str> = names.into_iter().filter(|name| !hidden.contains(*name)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn identity(instance: &Instance) -> String {
    serde_json::json!({
        "accountId": instance.account,
        "architecture": instance.architecture,
        "availabilityZone": instance.zone,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "privateIp": instance.private_ip,
        "region": instance.region,
        "version": "2017-09-30",
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_text_or_a_list() {
        let facts = BTreeMap::from(
            [
                ("instance-id", "i-1"),
                ("placement/region", "eu-west-1"),
                ("placement/zone", "eu-west-1a"),
                ("public-keys/0=mine", ""),
                ("public-keys/0/openssh-key", "ssh-ed25519 AAAA\n"),
                ("tags/instance/devopsctl:name", "hello"),
            ]
            .map(|(path, text)| (path.to_owned(), text.to_owned())),
        );
        let find = |path| super::find(&facts, path);
        assert_eq!(find("").unwrap(), "instance-id\nplacement/\npublic-keys/\ntags/");
        assert_eq!(find("placement").unwrap(), "region\nzone");
        assert_eq!(find("placement/").unwrap(), "region\nzone");
        assert_eq!(find("placement/zone").unwrap(), "eu-west-1a");
        assert_eq!(find("public-keys/").unwrap(), "0=mine");
        assert_eq!(find("public-keys/0/").unwrap(), "openssh-key");
        assert_eq!(find("tags/instance").unwrap(), "devopsctl:name");
        assert_eq!(find("tags/instance/devopsctl:token"), None);
        assert_eq!(find("place"), None);
    }

    #[test]
    fn a_request_needs_the_secret_and_the_right_host() {
        let location = Location { address: ([127, 0, 0, 1], 4000).into(), secret: "5ec4e7".to_owned() };
        let path = |uri: &str, headers: &[(&str, &str)]| {
            let request =
                headers.iter().fold(Request::builder().uri(uri), |all, (name, value)| all.header(*name, *value));
            location.path(&request.body(()).unwrap().into_parts().0).map(str::to_owned)
        };
        let host = ("host", "127.0.0.1:4000");
        assert_eq!(path("/5ec4e7/latest/api/token", &[host]).as_deref(), Some("/latest/api/token"));
        for other in [
            "/latest/api/token",
            "/5ec4e8/latest/api/token",
            "//5ec4e7/latest/",
            "/5ec4e7",
            "/5ec4e7x/",
            "/5ec4%657/",
            "/",
        ] {
            assert_eq!(path(other, &[host]), None, "{other}");
        }
        let right = "/5ec4e7/latest/";
        assert_eq!(path(right, &[]), None);
        for other in ["evil.example", "evil.example:4000", "127.0.0.1", "127.0.0.1:4001", "localhost:4000"] {
            assert_eq!(path(right, &[("host", other)]), None, "{other}");
        }
        assert_eq!(path(right, &[host, ("host", "evil.example")]), None);
        assert_eq!(path(right, &[host, ("origin", "null")]), None);
        assert_eq!(path(right, &[host, ("sec-fetch-site", "cross-site")]), None);
    }

    #[test]
    fn every_version_is_the_latest() {
        assert_eq!(without_version("/latest/user-data"), Some("user-data"));
        assert_eq!(without_version("/2021-03-23/meta-data/"), Some("meta-data/"));
        assert_eq!(without_version("/newest/user-data"), None);
        assert_eq!(without_version("/latest"), None);
    }
}
