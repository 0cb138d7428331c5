//! Functions that need no engine.

use std::collections::HashMap;

use penstock_gateway::auth::{digest::Pepper, key, seal as sealing};
use penstock_gateway::{scan, tokens};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::{load, value_error};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    module.add_function(wrap_pyfunction!(generate_key, module)?)?;
    module.add_function(wrap_pyfunction!(key_id, module)?)?;
    module.add_function(wrap_pyfunction!(key_digest, module)?)?;
    module.add_function(wrap_pyfunction!(seal, module)?)?;
    module.add_function(wrap_pyfunction!(unseal, module)?)?;
    module.add_function(wrap_pyfunction!(count_tokens, module)?)?;
    module.add_function(wrap_pyfunction!(count_request_tokens, module)?)?;
    module.add_function(wrap_pyfunction!(vocabulary, module)?)?;
    module.add_function(wrap_pyfunction!(load::run_load, module)?)
}

#[pyfunction]
fn build_info() -> HashMap<&'static str, &'static str> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    HashMap::from([
        ("version", env!("CARGO_PKG_VERSION")),
        ("profile", profile),
        ("rustc", env!("PENSTOCK_RUSTC")),
        ("target", env!("PENSTOCK_TARGET")),
    ])
}

#[pyfunction]
fn generate_key() -> PyResult<String> {
    key::generate().map_err(|_| pyo3::exceptions::PyOSError::new_err("the operating system gave no random bytes"))
}

#[pyfunction]
fn key_id(key: &str) -> Option<String> {
    key::parse(key).ok().map(|parts| parts.id.to_owned())
}

#[pyfunction]
fn key_digest(pepper: &[u8], key: &str) -> PyResult<String> {
    Ok(Pepper::new(pepper).map_err(value_error)?.digest(key.as_bytes()).to_string())
}

#[pyfunction]
fn seal<'py>(py: Python<'py>, key: &[u8], plaintext: &[u8], aad: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sealing::seal(key, plaintext, aad).map_err(value_error)?))
}

#[pyfunction]
fn unseal<'py>(py: Python<'py>, key: &[u8], sealed: &[u8], aad: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sealing::unseal(key, sealed, aad).map_err(value_error)?))
}

#[pyfunction]
#[pyo3(signature = (text, encoding = "o200k_base"))]
fn count_tokens(py: Python<'_>, text: &str, encoding: &str) -> PyResult<usize> {
    let encoding: tokens::Encoding = encoding.parse().map_err(value_error)?;
    Ok(py.detach(|| tokens::count(encoding, text)))
}

#[pyfunction]
fn count_request_tokens(py: Python<'_>, body: &[u8], model: &str) -> PyResult<usize> {
    py.detach(|| scan::object(body).map(|json| tokens::count_prompt(&json, tokens::for_model(model))))
        .map_err(value_error)
}

#[pyfunction]
fn vocabulary<'py>(py: Python<'py>, encoding: &str) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let encoding: tokens::Encoding = encoding.parse().map_err(value_error)?;
    Ok(tokens::vocabulary(encoding).iter().map(|token| PyBytes::new(py, token)).collect())
}
