//! The instance metadata service (IMDSv2), one for each machine on a port of its own.
//!
//! It answers from the world's view, so a changed tag is seen at once and polling costs nothing. Credentials are real ones
//! of the role in the associated instance profile; before the association there are none.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::secret;
use super::world::{Instance, World};

/// How long credentials are handed out; they live for six hours, and AWS renews them well before their end.
const FRESH: Duration = Duration::from_secs(3600);
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const LONGEST_TTL: u64 = 21_600;

/// The service of one machine. It ends when this is dropped.
pub struct Metadata {
    address: SocketAddr,
    task: JoinHandle<()>,
}

struct Service {
    world: Arc<World>,
    instance: String,
    tokens: Mutex<HashMap<String, Instant>>,
    /// By the association they were made for.
    credentials: tokio::sync::Mutex<Option<(String, Instant, Bytes)>>,
}

impl Metadata {
    /// Begins to serve.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(world: Arc<World>, instance: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let service =
            Service { world, instance: instance.to_owned(), tokens: Mutex::default(), credentials: Default::default() };
        let app = Router::new().fallback(answer).with_state(Arc::new(service));
        let task = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { address, task })
    }

    /// What stands for `http://169.254.169.254`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    let Ok(view) = service.world.now().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Some(instance) = view.instance(&service.instance) else { return StatusCode::NOT_FOUND.into_response() };
    if !instance.metadata.enabled {
        return StatusCode::FORBIDDEN.into_response();
    }
    let (request, _) = request.into_parts();
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let path = request.uri.path();
    if path == "/latest/api/token" {
        return token(&service, &request.method, header(TTL_HEADER));
    }
    if !service.knows(header(TOKEN_HEADER)) {
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
    fn knows(&self, token: Option<&str>) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        token.and_then(|token| tokens.get(token)).is_some_and(|until| *until > Instant::now())
    }

    async fn read(&self, instance: &Instance, path: &str) -> Option<Bytes> {
        let profile = instance.profile.as_ref();
        let role = profile.and_then(|profile| profile.role.as_deref());
        match path.strip_prefix("/latest/")? {
            "user-data" if instance.user_data => {
                self.world.emulator().ask(&format!("user-data?instance={}", self.instance)).await.ok()?
            }
            "dynamic/instance-identity/document" => Some(identity(instance).into()),
            "meta-data/iam/info" => {
                let profile = profile?;
                let info = serde_json::json!({
                    "Code": "Success", "InstanceProfileArn": profile.arn, "InstanceProfileId": profile.id,
                });
                Some(info.to_string().into())
            }
            "meta-data/iam/security-credentials/" | "meta-data/iam/security-credentials" => role.map(text),
            path => match path.strip_prefix("meta-data/iam/security-credentials/") {
                Some(name) if Some(name) == role => self.credentials(&profile?.association).await,
                Some(_) => None,
                None => fact(instance, path.strip_prefix("meta-data/")?),
            },
        }
    }

    /// The role's credentials, the same ones until they are renewed.
    async fn credentials(&self, association: &str) -> Option<Bytes> {
        let mut kept = self.credentials.lock().await;
        if let Some((made_for, made, body)) = kept.as_ref()
            && made_for == association
            && made.elapsed() < FRESH
        {
            return Some(body.clone());
        }
        let body = self.world.emulator().ask(&format!("credentials?instance={}", self.instance)).await.ok()??;
        *kept = Some((association.to_owned(), Instant::now(), body.clone()));
        Some(body)
    }
}

fn text(value: impl ToString) -> Bytes {
    value.to_string().into()
}

/// What is a plain text in the view.
fn fact(instance: &Instance, path: &str) -> Option<Bytes> {
    match path {
        "instance-id" => Some(text(&instance.id)),
        "ami-id" => Some(text(&instance.image)),
        "instance-type" => Some(text(&instance.instance_type)),
        "local-ipv4" => instance.private_ip.map(text),
        "public-ipv4" => instance.public_ip.map(text),
        "placement/region" => Some(text(&instance.region)),
        "placement/availability-zone" => Some(text(&instance.zone)),
        "services/domain" => Some(text("amazonaws.com")),
        "services/partition" => Some(text("aws")),
        "tags/instance" | "tags/instance/" if instance.metadata.tags => {
            Some(text(instance.tags.keys().map(String::as_str).collect::<Vec<_>>().join("\n")))
        }
        path => {
            let key = path.strip_prefix("tags/instance/").filter(|_| instance.metadata.tags)?;
            instance.tags.get(key).map(text)
        }
    }
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
