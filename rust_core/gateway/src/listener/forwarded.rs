//! Who the client is, and which of its headers may travel on.

use std::net::IpAddr;

use penstock_http1::Headers;

use crate::auth::cidr::CidrSet;

/// Fields that belong to one hop (RFC 9110, section 7.6.1); `name` in lower case.
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// Whether `Connection` says more than whether the connection stays.
#[must_use]
pub fn nominates(headers: &Headers) -> bool {
    let plain = |v: &[u8]| v.eq_ignore_ascii_case(b"keep-alive") || v.eq_ignore_ascii_case(b"close");
    !headers.get_all("connection").all(plain)
}

/// Whether `Connection` nominates this field as belonging to one hop.
#[must_use]
pub fn is_nominated(headers: &Headers, name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| headers.lists("connection", name))
}

/// The client's address: the peer's, or, when the peer is a trusted proxy, the last address in
/// `X-Forwarded-For` that is not itself a trusted proxy.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &Headers, trusted: &CidrSet) -> IpAddr {
    if trusted.is_empty() || !trusted.contains(peer) {
        return peer;
    }
    let mut client = peer;
    let lines: Vec<&[u8]> = headers.get_all("x-forwarded-for").collect();
    for line in lines.iter().rev() {
        for part in line.rsplit(|b| *b == b',') {
            let Some(address) = std::str::from_utf8(part).ok().and_then(|p| parse_address(p.trim())) else {
                return client;
            };
            client = address;
            if !trusted.contains(address) {
                return client;
            }
        }
    }
    client
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))
}
