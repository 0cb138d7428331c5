//! Opening connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::{Io, Origin};

/// Opens streams to origins.
#[derive(Clone)]
pub struct Connector {
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// With this TLS configuration for `https` origins.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls }
    }

    /// A fresh connection; the timeout bounds name resolution, TCP and TLS together.
    pub async fn connect(&self, origin: &Origin, timeout: Duration) -> io::Result<Io> {
        match tokio::time::timeout(timeout, self.open(origin)).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")),
        }
    }

    async fn open(&self, origin: &Origin) -> io::Result<Io> {
        let tcp = match origin.host.parse::<std::net::IpAddr>() {
            Ok(ip) => TcpStream::connect((ip, origin.port)).await?,
            Err(_) => first_reachable(origin).await?,
        };
        tcp.set_nodelay(true)?;
        if !origin.tls {
            return Ok(Io::Tcp(tcp));
        }
        let name =
            ServerName::try_from(origin.host.clone()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        Ok(Io::TlsClient(Box::new(stream)))
    }
}

/// Tries the addresses in turn, giving up on a silent one early so that the next gets its chance.
async fn first_reachable(origin: &Origin) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((origin.host.as_str(), origin.port)).await? {
        match tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(e)) => last = e,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "connecting took too long"),
        }
    }
    Err(last)
}

/// Connects to the control plane, which may be a moment away from listening when the public port already is open.
pub(crate) async fn control(path: &str) -> io::Result<Io> {
    let until = tokio::time::Instant::now() + Duration::from_secs(1);
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(Io::Unix(stream)),
            Err(e) if tokio::time::Instant::now() >= until => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
