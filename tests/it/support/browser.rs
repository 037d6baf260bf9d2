//! A browser: it keeps cookies, follows redirects, sends forms with their hidden fields, and the deployment's token with each request.

use std::collections::BTreeMap;

use regex::Regex;
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};

use super::http::runtime;

/// How many redirects it follows.
const MOST: usize = 5;
const BOUNDARY: &str = "a-boundary-between-the-parts";

/// A browser with its cookies.
pub struct Browser {
    client: Client,
    url: Url,
    /// The password that it sends as Basic, unless the app is public.
    pub token: Option<String>,
    /// The cookies by name.
    pub cookies: BTreeMap<String, String>,
}

/// The page that it shows after all redirects.
pub struct Page {
    pub status: u16,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// The body of a request, and its type.
type Content = (String, Vec<u8>);

impl Browser {
    pub fn new(url: &str, token: Option<&str>) -> Self {
        let client = Client::builder().no_proxy().redirect(Policy::none());
        Self {
            client: client.timeout(std::time::Duration::from_secs(60)).build().unwrap(),
            url: Url::parse(url).unwrap(),
            token: token.map(str::to_owned),
            cookies: BTreeMap::new(),
        }
    }

    /// The app's URL.
    pub fn url(&self) -> String {
        self.url.to_string().trim_end_matches('/').to_owned()
    }

    /// Opens a page.
    #[track_caller]
    pub fn open(&mut self, path: &str) -> Page {
        self.visit(Method::GET, path, None)
    }

    /// Fills in the form of a page, and sends it to the same path.
    #[track_caller]
    pub fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let hidden = self.open(path).ok().hidden();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<_> = hidden.chain(fields.iter().copied()).collect();
        self.post(path, &fields)
    }

    /// Sends these fields only.
    #[track_caller]
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let mut form = self.url.clone();
        form.query_pairs_mut().clear().extend_pairs(fields);
        let body = form.query().unwrap_or_default().as_bytes().to_vec();
        self.visit(Method::POST, path, Some(("application/x-www-form-urlencoded".into(), body)))
    }

    /// Sends a JSON document.
    #[track_caller]
    pub fn post_json(&mut self, path: &str, document: &serde_json::Value) -> Page {
        self.visit(Method::POST, path, Some(("application/json".into(), document.to_string().into_bytes())))
    }

    /// Sends a text.
    #[track_caller]
    pub fn post_text(&mut self, path: &str, text: &str) -> Page {
        self.visit(Method::POST, path, Some(("text/plain".into(), text.as_bytes().to_vec())))
    }

    /// Fills in the form of a page with a file, and sends it to the same path.
    #[track_caller]
    pub fn upload(&mut self, path: &str, field: &str, name: &str, content: &[u8]) -> Page {
        let mut body = Vec::new();
        for (name, value) in self.open(path).ok().hidden() {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend(head.as_bytes());
        }
        let about = format!("form-data; name=\"{field}\"; filename=\"{name}\"");
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: {about}\r\nContent-Type: application/octet-stream\r\n\r\n");
        body.extend([head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat());
        self.visit(Method::POST, path, Some((format!("multipart/form-data; boundary={BOUNDARY}"), body)))
    }

    #[track_caller]
    fn visit(&mut self, mut method: Method, path: &str, mut content: Option<Content>) -> Page {
        let mut url = self.url.join(path).unwrap();
        for _ in 0..MOST {
            let page = self.request(&method, &url, content.clone());
            let Some(location) = page.headers.get(LOCATION).filter(|_| (300..400).contains(&page.status)) else {
                return page;
            };
            let next = url.join(location.to_str().unwrap()).unwrap();
            assert_eq!(next.origin(), self.url.origin(), "a redirect from {url} to {next}");
            url = next;
            if ![307, 308].contains(&page.status) {
                (method, content) = (Method::GET, None);
            }
        }
        panic!("more than {MOST} redirects, the last one to {url}")
    }

    fn request(&mut self, method: &Method, url: &Url, content: Option<Content>) -> Page {
        let mut request = self.client.request(method.clone(), url.clone());
        if let Some(token) = &self.token {
            request = request.basic_auth("me", Some(token));
        }
        if !self.cookies.is_empty() {
            let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
            request = request.header("Cookie", cookies.collect::<Vec<_>>().join("; "));
        }
        if let Some((kind, body)) = content {
            let origin = self.url.origin().ascii_serialization();
            request = request.header("Origin", origin).header("Referer", url.as_str());
            request = request.header("Content-Type", kind).body(body);
        }
        let page = runtime().block_on(async {
            let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Page { status, path: url.path().to_owned(), headers, body: response.text().await.unwrap() }
        });
        self.keep_cookies(&page);
        page
    }

    fn keep_cookies(&mut self, page: &Page) {
        for set in page.headers.get_all(SET_COOKIE) {
            let (pair, attributes) = set.to_str().unwrap().split_once(';').unwrap_or((set.to_str().unwrap(), ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") || attributes.contains(" 1970 ") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

impl Page {
    /// Asserts that it is shown without an error.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.is(200)
    }

    /// Asserts its status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.path, self.body);
        self
    }

    /// Asserts that it contains a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.body.contains(text), "{text:?} is missing in {}:\n{}", self.path, self.body);
        self
    }

    /// The hidden fields of its forms, such as a CSRF token.
    fn hidden(&self) -> Vec<(String, String)> {
        let (input, attribute) = (Regex::new("<input[^>]*>").unwrap(), Regex::new("(\\w+)=\"([^\"]*)\"").unwrap());
        let inputs = input
            .find_iter(&self.body)
            .map(|input| attribute.captures_iter(input.as_str()).map(|one| (one[1].to_owned(), one[2].to_owned())));
        let inputs = inputs.map(|attributes| attributes.collect::<BTreeMap<_, _>>());
        let hidden = inputs.filter(|input| input.get("type").is_some_and(|kind| kind == "hidden"));
        hidden.filter_map(|input| Some((input.get("name")?.clone(), input.get("value")?.clone()))).collect()
    }
}
