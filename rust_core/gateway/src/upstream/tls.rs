//! How upstreams are verified.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A client configuration trusting the PEM bundle, or Mozilla's roots when there is none.
///
/// # Errors
/// What is wrong with the file.
pub fn client_config(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path).map_err(|e| format!("ca_file {path:?}: {e}"))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| format!("ca_file {path:?}: {e}"))?;
                roots.add(certificate).map_err(|e| format!("ca_file {path:?}: {e}"))?;
            }
            if roots.is_empty() {
                return Err(format!("ca_file {path:?} holds no certificate"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
