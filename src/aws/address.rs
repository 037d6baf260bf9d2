//! Which public address this machine has: only the other side of the way knows.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::base::error::{Failure, Result, innermost};

/// AWS's own answer to that question. <https://checkip.amazonaws.com>
const ASK: &str = "https://checkip.amazonaws.com";

/// Asks, and by no proxy: SSH takes none either.
pub async fn own() -> Result<Ipv4Addr> {
    let failed = |why: String| {
        Failure::failed("it cannot be found out which address you come from")
            .because(why)
            .next("check the network; or name the address yourself: --from ADDRESS")
    };
    let ask = async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        client.get(ASK).send().await?.error_for_status()?.text().await
    };
    let answer = ask.await.map_err(|error| failed(format!("{ASK} does not answer: {}", innermost(&error))))?;
    read(&answer).ok_or_else(|| failed(format!("{ASK} answers something else than a public address")))
}

/// One that others cannot reach is a middleman's word.
fn read(answer: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = answer.trim().parse().ok()?;
    (!address.is_private() && !address.is_loopback() && !address.is_link_local() && !address.is_unspecified())
        .then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_public_address_is_taken() {
        assert_eq!(read("203.0.113.7\n"), Some(Ipv4Addr::new(203, 0, 113, 7)));
        for other in ["", "<html>", "10.0.0.1\n", "127.0.0.1", "2001:db8::1", "0.0.0.0", "203.0.113.7, 10.0.0.1"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
