//! Reads `network`.

use std::fs;
use std::path::Path;

use ipnet::IpNet;
use miette::SourceSpan;

use super::super::reader::{Found, Reader, Section, Wrong};
use super::super::tree::Value;
use super::super::{Acme, Limits, Network, Root, check, table};

pub fn section(reader: &mut Reader, top: &mut Section, folder: &Path) -> Network {
    let mut section = reader.sub(top, &table::NETWORK);
    let https = match section.given(&table::HTTPS).map(|node| &node.value) {
        Some(&Value::Bool(on)) => section.take(&table::HTTPS).is_some() && on, // YAML parses `off` as false.
        _ => reader.word(&mut section, &table::HTTPS).is_none_or(|word| word == "auto"),
    };
    let port_given = section.place(&table::PORT);
    let port = reader.number(&mut section, &table::PORT);
    if let Some(span) = port_given.filter(|_| https && port != table::PORT.default) {
        let hint =
            "remove it: HTTPS uses port 443, and port 80 redirects to it; or set `https: off` to serve plain HTTP";
        reader.find(span, "`network.port` is for plain HTTP", "https is not off", hint);
    }
    let domain_given = section.place(&table::DOMAIN);
    let domain = reader.text(&mut section, &table::DOMAIN, check::domain);
    if let Some(span) = domain_given.filter(|_| !https) {
        let hint = "remove it, or remove `https: off`";
        reader.find(span, "`network.domain` is for HTTPS", "https is off", hint);
    }
    let dns_given = section.place(&table::DNS);
    let route53 = reader.word(&mut section, &table::DNS).is_some();
    let directory = reader.text(&mut section, &table::ACME_DIRECTORY, check::https_url);
    let root = reader.text(&mut section, &table::ACME_ROOT, |name| pem(folder, name).map(|_| ()));
    let root = root.and_then(|name| Some(Root { pem: pem(folder, &name).ok()?, file: folder.join(name) }));
    let acme = Acme { directory, root };
    let allow = section.take(&table::ALLOW).map(|found| allow_list(reader, found));
    let allow = allow.unwrap_or_else(|| blocks(table::ALLOW.default));
    let static_ip = reader.flag(&mut section, &table::STATIC_IP);
    if let Some(span) = dns_given {
        contradicts_dns(reader, span, (https, domain_given.is_some(), static_ip));
    }
    let subnet = reader.text(&mut section, &table::SUBNET, check::subnet);
    let limits = limits_section(reader, &mut section);
    section.finish(reader);
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    Network { https, port, domain, route53, acme, limits, allow, static_ip, subnet }
}

/// A DNS record needs a domain, and an address that outlives the instance.
fn contradicts_dns(reader: &mut Reader, span: SourceSpan, (https, domain, static_ip): (bool, bool, bool)) {
    let (what, label, hint) = match (https, domain, static_ip) {
        (false, ..) => ("`network.dns` is for HTTPS", "https is off", "remove it, or remove `https: off`"),
        (_, false, _) => (
            "`network.dns` needs `network.domain`",
            "there is no domain",
            "add it, for example `domain: app.example.com`; or remove `dns` to serve the app at its address",
        ),
        (.., false) => (
            "`network.dns` needs an Elastic IP",
            "static_ip is false",
            "remove `static_ip: false`; or remove `dns` and create the record yourself",
        ),
        _ => return,
    };
    reader.find(span, what, label, hint);
}

fn limits_section(reader: &mut Reader, network: &mut Section) -> Limits {
    let mut section = reader.sub(network, &table::LIMITS);
    let limits = Limits {
        body_mb: reader.number(&mut section, &table::BODY_MB),
        header_seconds: reader.number(&mut section, &table::HEADER_SECONDS),
        body_seconds: reader.number(&mut section, &table::BODY_SECONDS),
        idle_seconds: reader.number(&mut section, &table::IDLE_SECONDS),
    };
    section.finish(reader);
    limits
}

/// The root certificates of a private authority.
fn pem(folder: &Path, name: &str) -> Result<String, Wrong> {
    let hint = "name a file with certificates in PEM, relative to this one";
    let text = fs::read_to_string(folder.join(name)).map_err(|_| Wrong::new("cannot be read", hint))?;
    match text.contains("-----BEGIN CERTIFICATE-----") {
        // The file is copied to the instance, which must not get the authority's key.
        true if text.contains("PRIVATE KEY") => Err(Wrong::new("contains a private key", hint)),
        true => Ok(text),
        false => Err(Wrong::new("contains no certificate", hint)),
    }
}

fn allow_list(reader: &mut Reader, found: Found) -> Vec<IpNet> {
    let mut given = Vec::new();
    for found in reader.list(Some(found), "write\n  allow:\n    - 0.0.0.0/0") {
        given.extend(reader.text_of(Some(found), |text| check::cidr(text).map(|_| ())));
    }
    blocks(&given)
}

fn blocks<T: AsRef<str>>(given: &[T]) -> Vec<IpNet> {
    let mut blocks: Vec<IpNet> = given.iter().filter_map(|text| check::cidr(text.as_ref()).ok()).collect();
    blocks.sort();
    blocks.dedup();
    blocks
}
