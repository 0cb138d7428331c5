//! Scheme, host and port of an upstream, parsed once.

use rustls::pki_types::ServerName;

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// TLS or not.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of the `Host` header.
    pub host_header: String,
}

impl Origin {
    /// Splits `http(s)://host[:port][/path]` into origin and path (no trailing slash).
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn parse(url: &str) -> Result<(Self, String), &'static str> {
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err("must start with http:// or https://"),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |i| rest.split_at(i));
        if authority.is_empty() {
            return Err("has no host");
        }
        if authority.contains('@') {
            return Err("must not hold credentials; use headers");
        }
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err("must not have a query or fragment");
        }
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must be ASCII without spaces");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, tail) = v6.split_once(']').ok_or("has an unclosed IPv6 address")?;
                (host, tail.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p))),
        };
        let port = match port {
            Some(p) => p.parse().map_err(|_| "has a malformed port")?,
            None if tls => 443,
            None => 80,
        };
        if tls && ServerName::try_from(host).is_err() {
            return Err("has a malformed host");
        }
        let origin = Self { tls, host: host.to_owned(), port, host_header: authority.to_owned() };
        Ok((origin, path.trim_end_matches('/').to_owned()))
    }
}
