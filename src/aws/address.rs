//! This machine's public address, as a server on the internet sees it.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::base::error::{Failure, Result, innermost};

/// AWS's service for it. <https://checkip.amazonaws.com>
const ASK: &str = "https://checkip.amazonaws.com";

/// Asks without a proxy, because SSH uses none either.
pub async fn own() -> Result<Ipv4Addr> {
    let failed = |why: String| {
        Failure::failed("cannot find out your public address")
            .because(why)
            .next("check the network; or pass the address: --from ADDRESS")
    };
    let ask = async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        client.get(ASK).send().await?.error_for_status()?.text().await
    };
    let answer = ask.await.map_err(|error| failed(format!("{ASK} does not answer: {}", innermost(&error))))?;
    read(&answer).ok_or_else(|| failed(format!("{ASK} did not return a public address")))
}

/// A private address can only come from something in between.
fn read(answer: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = answer.trim().parse().ok()?;
    (!address.is_private() && !address.is_loopback() && !address.is_link_local() && !address.is_unspecified())
        .then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_public_address_is_accepted() {
        assert_eq!(read("203.0.113.7\n"), Some(Ipv4Addr::new(203, 0, 113, 7)));
        for other in ["", "<html>", "10.0.0.1\n", "127.0.0.1", "2001:db8::1", "0.0.0.0", "203.0.113.7, 10.0.0.1"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
