//! Networks, and which address a request came from where proxies stand before the gateway.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;
use serde::Deserialize;

/// Addresses that share their first bits: `10.0.0.0/8`, or one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is neither an address nor a network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > all { Err(wrong()) } else { Ok(Self { address: address.to_canonical(), bits }) }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u32| {
            // A network of no bits is every address.
            (one ^ other).checked_shr(width - self.bits).is_none_or(|differs| differs == 0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => same(one.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressHeader(pub(crate) HeaderName);

impl TryFrom<String> for AddressHeader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is not the name of a header"))
    }
}

/// Where a request came from. `peer` is who is connected. What the header says is believed for as far as it was written
/// by a proxy that is trusted: each appends who it heard from, so the list is read from its end, and whatever a client
/// has put at its beginning is not looked at.
pub(crate) fn client_address(
    trusted: &[Network],
    header: &AddressHeader,
    peer: IpAddr,
    headers: &HeaderMap,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    let lines: Vec<_> = headers.get_all(&header.0).iter().collect();
    let named = lines.into_iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for text in named {
        if !is_trusted(client) {
            break;
        }
        // Whoever wrote something else has told nothing: the proxy that was heard last is all that is known.
        let Some(address) = address(text.trim()) else { break };
        client = address;
    }
    client.to_canonical()
}

/// An address, which may have a port behind it.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    inner.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::{AddressHeader, Network, client_address};
    use http::{HeaderMap, HeaderValue};

    fn network(text: &str) -> Result<Network, String> {
        Network::try_from(text.to_owned())
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let holds = |text: &str, address: &str| network(text).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        assert!(holds("10.1.2.3", "::ffff:10.1.2.3"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:9::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "2001:db8::1") && holds("::1", "::1") && !holds("::1", "::2"));
        for wrong in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "proxy", "10.0.0.0/8/8"]
        {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_who_was_before_it() {
        let trusted = [network("10.0.0.0/8").unwrap(), network("::1").unwrap()];
        let header = AddressHeader::try_from("X-Forwarded-For".to_owned()).unwrap();
        let check = |peer: &str, lines: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
            }
            let found = client_address(&trusted, &header, peer.parse().unwrap(), &headers);
            assert_eq!(found.to_string(), expected, "{peer}: {lines:?}");
        };
        // Nobody is believed who is not trusted.
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("203.0.113.9", &[], "203.0.113.9");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        // What the client has written stands before what the proxies have.
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["10.0.0.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1", "10.0.0.3"], "198.51.100.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("::1", &["2001:db8::7"], "2001:db8::7");
        check("::1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("::ffff:10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        // What is no address ends the list.
        check("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, "], "10.0.0.1");
    }
}
