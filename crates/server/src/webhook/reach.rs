//! Which addresses a webhook may go to: those of the public internet, unless its settings say
//! otherwise. It is decided behind the resolution of names, on the very addresses that are connected
//! to, so that no name leads elsewhere the second time it is asked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ids::planted;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Checks what can be said of a URL before a name is resolved: a literal address is connected to
/// without asking anybody.
pub(super) fn check(url: &Url, allow_private: bool) -> Result<(), &'static str> {
    if !(url.scheme() == "https" || url.scheme() == "http" && allow_private) {
        return Err("has to be https; http is for `allow_private` only");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has to be without user and password");
    }
    let host = url.host_str().ok_or("has to name a host")?;
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !allow_private && !is_public(address) => Err(INSIDE),
        _ => Ok(()),
    }
}

const INSIDE: &str = "an address inside the network; `allow_private` would allow it";

/// Resolves names, and refuses those that lead inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    pub(super) allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            held(&found, allow_private)?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Refuses all of them if one leads inside: whoever answers so is not to be followed at all.
fn held(found: &[SocketAddr], allow_private: bool) -> io::Result<()> {
    let inside = found.iter().any(|address| !is_public(address.ip()));
    if inside && !allow_private && !planted::is("webhook-reaches-inside") {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, INSIDE));
    }
    Ok(())
}

/// Whether an address is one of the public internet (IANA's registries of special-purpose
/// addresses, RFC 6890 and what came since).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation();
    let more = match (a, b, c) {
        // "This network", and what is reserved.
        (0 | 240..=255, ..) => true,
        // Shared by carriers (RFC 6598).
        (100, 64..=127, _) => true,
        // Protocol assignments, relays, benchmarks.
        (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _) => true,
        _ => false,
    };
    !special && !more
}

/// Global unicast, without what holds an IPv4 address in it, and what is nobody's.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global = (0x2000..=0x3fff).contains(&a);
    let special = match (a, b) {
        // Teredo and other protocol assignments; documentation; 6to4.
        (0x2001, 0..=0x01ff | 0x0db8) | (0x2002, _) | (0x3fff, 0..=0x0fff) => true,
        _ => false,
    };
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: [&str; 38] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "ff02::1",
    ];
    const PUBLIC: [&str; 8] = [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "2606:4700::1111",
        "2a00:1450:4001::1",
    ];

    #[test]
    fn what_is_inside_is_told_from_what_is_public() {
        for address in INSIDE {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in PUBLIC {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn literal_addresses_are_refused_however_they_are_written() {
        let inside = INSIDE.iter().map(|address| match address.contains(':') {
            true => format!("https://[{address}]/h"),
            false => format!("https://{address}/h"),
        });
        let odd =
            ["https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/"]
                .map(str::to_owned);
        for text in inside.chain(odd) {
            let url = Url::parse(&text).unwrap();
            assert!(check(&url, false).is_err(), "{text}");
            assert!(check(&url, true).is_ok(), "{text}");
        }
        for (text, private, fits) in [
            ("https://example.com/h", false, true),
            ("http://example.com/h", false, false),
            ("http://example.com/h", true, true),
            ("https://a:b@example.com/h", true, false),
            ("ftp://example.com/h", true, false),
        ] {
            assert_eq!(check(&Url::parse(text).unwrap(), private).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn a_name_that_leads_inside_is_refused_whole() {
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 443);
        for inside in INSIDE {
            let found = [at("1.1.1.1"), at(inside)];
            assert!(held(&found, false).is_err(), "{inside}");
            assert!(held(&found, true).is_ok(), "{inside}");
        }
        assert!(held(&[at("1.1.1.1"), at("2606:4700::1111")], false).is_ok());
    }

    #[tokio::test]
    async fn resolution_is_where_it_is_decided() {
        let name = || "localhost".parse::<Name>().unwrap();
        assert!(Guard { allow_private: false }.resolve(name()).await.is_err());
        assert!(Guard { allow_private: true }.resolve(name()).await.unwrap().count() > 0);
    }
}
