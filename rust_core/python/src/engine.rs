//! `Engine`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use penstock_gateway::auth::digest::Digest;
use penstock_gateway::auth::record::KeyRecord;
use penstock_gateway::auth::scope::ScopeRecord;
use penstock_gateway::engine as gateway;
use penstock_gateway::listener::bridge::Submitted;
use penstock_gateway::telemetry::Gauges;
use penstock_http1::HeadersBuilder;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::value_error;

#[pyclass(frozen, module = "penstock._core")]
pub(crate) struct Engine(gateway::Engine);

fn digest(token: &str) -> PyResult<Digest> {
    token.parse().map_err(value_error)
}

#[pymethods]
impl Engine {
    #[new]
    fn new(options: &[u8]) -> PyResult<Self> {
        let options = serde_json::from_slice(options).map_err(|e| value_error(format!("options: {e}")))?;
        gateway::Engine::new(options).map(Self).map_err(value_error)
    }

    fn apply_snapshot(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.apply(snapshot)).map_err(value_error)
    }

    fn start(&self, py: Python<'_>) -> PyResult<u16> {
        if self.0.shared.snapshot.load().version == 0 {
            return Err(value_error("apply a snapshot before starting"));
        }
        py.detach(|| {
            self.0.reload_tls().map_err(value_error)?;
            self.0.start().map_err(|e| PyOSError::new_err((e.raw_os_error(), e.to_string())))
        })
    }

    fn reload_tls(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.reload_tls()).map_err(value_error)
    }

    fn put_keys(&self, py: Python<'_>, records: &[u8]) -> PyResult<()> {
        py.detach(|| {
            let records: Vec<KeyRecord> = serde_json::from_slice(records).map_err(|e| format!("key records: {e}"))?;
            for record in records {
                self.0.shared.key_hooks.invalidate(&record.token);
                self.0.shared.keys.insert(record).map_err(|e| e.to_string())?;
            }
            Ok::<(), String>(())
        })
        .map_err(value_error)
    }

    fn drop_keys(&self, tokens: Vec<String>) -> PyResult<()> {
        for token in tokens {
            let digest = digest(&token)?;
            self.0.shared.key_hooks.invalidate(&digest);
            self.0.shared.keys.remove(&digest);
        }
        Ok(())
    }

    fn key_usage(&self, token: &str) -> PyResult<(u64, u64, u64)> {
        Ok(self.0.shared.keys.usage(&digest(token)?).unwrap_or_default())
    }

    fn put_scopes(&self, py: Python<'_>, records: &[u8]) -> PyResult<()> {
        py.detach(|| {
            let records: Vec<ScopeRecord> =
                serde_json::from_slice(records).map_err(|e| format!("scope records: {e}"))?;
            self.0.put_scopes(records);
            Ok::<(), String>(())
        })
        .map_err(value_error)
    }

    fn drop_scopes(&self, py: Python<'_>, names: Vec<String>) {
        py.detach(|| self.0.drop_scopes(&names));
    }

    fn scope_usage(&self, name: &str) -> (u64, u64, u64) {
        self.0.shared.keys.scopes.usage(name).unwrap_or_default()
    }

    fn lower_holds(&self, py: Python<'_>, spends: &[u8]) -> PyResult<Vec<u64>> {
        py.detach(|| self.0.lower_holds(spends)).map_err(value_error)
    }

    fn bound_windows(&self, latest: u64) {
        self.0.bound_windows(latest);
    }

    fn event_fd(&self) -> i32 {
        self.0.shared.events.fd()
    }

    fn drain_events<'py>(&self, py: Python<'py>) -> Vec<(u64, &'static str, Bound<'py, PyBytes>)> {
        let events = self.0.shared.events.drain();
        events.into_iter().map(|e| (e.id, e.kind, PyBytes::new(py, &e.payload))).collect()
    }

    fn resolve_hook(&self, id: u64, answer: &[u8]) -> PyResult<()> {
        self.0.resolve(id, answer).map_err(value_error)
    }

    fn submit(
        &self,
        method: &str,
        target: &str,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: &[u8],
        client: &str,
    ) -> PyResult<u64> {
        let mut builder = HeadersBuilder::default();
        for (name, value) in &headers {
            builder.push(name, value).map_err(value_error)?;
        }
        let id = self.0.shared.events.id();
        let call = Submitted {
            id,
            method: Bytes::copy_from_slice(method.as_bytes()),
            target: Bytes::copy_from_slice(target.as_bytes()),
            headers: builder.build(),
            body: Bytes::copy_from_slice(body),
            client: client.parse().map_err(|_| value_error(format!("client {client:?} is not an IP address")))?,
            handle: Arc::default(),
        };
        if self.0.shared.bridge.submit(call) { Ok(id) } else { Err(PyOSError::new_err("the engine is not running")) }
    }

    fn credit(&self, id: u64, count: usize) {
        self.0.shared.bridge.credit(id, count);
    }

    fn cancel(&self, id: u64) {
        self.0.shared.bridge.cancel(id);
    }

    #[pyo3(signature = (limit, after=0))]
    fn take_usage<'py>(&self, py: Python<'py>, limit: usize, after: u64) -> Bound<'py, PyBytes> {
        let records = py.detach(|| self.0.shared.ledger.take(limit, after));
        PyBytes::new(py, &records)
    }

    fn ack_usage(&self, seq: u64) {
        self.0.shared.ledger.ack(seq);
    }

    #[pyo3(signature = (after=0))]
    fn recovered_usage<'py>(&self, py: Python<'py>, after: usize) -> PyResult<Bound<'py, PyBytes>> {
        let rows = py.detach(|| self.0.recovery.lock().unwrap_or_else(PoisonError::into_inner).rows(after))?;
        Ok(PyBytes::new(py, &rows))
    }

    fn recovered_damage(&self) -> u64 {
        self.0.recovery.lock().unwrap_or_else(PoisonError::into_inner).damaged()
    }

    fn forget_recovered(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.0.recovery.lock().unwrap_or_else(PoisonError::into_inner).forget())?)
    }

    fn metrics(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.shared.metrics.render(&self.gauges(), &self.0.shared.snapshot.load()))
    }

    fn set_ready(&self, ready: bool) {
        self.0.shared.set_ready(ready);
    }

    fn status<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let g = self.gauges();
        let text = format!(
            "{{\"in_flight\":{},\"connections\":{},\"snapshot_version\":{},\"keys\":{},\"usage_queue\":{}}}",
            g.in_flight, g.connections, g.snapshot_version, g.keys, g.usage_queue
        );
        PyBytes::new(py, text.as_bytes())
    }

    fn drain(&self, py: Python<'_>, grace_ms: u64) -> bool {
        py.detach(|| self.0.drain(Duration::from_millis(grace_ms)))
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

impl Engine {
    fn gauges(&self) -> Gauges {
        let shared = &self.0.shared;
        Gauges {
            in_flight: shared.slots.in_flight(),
            connections: shared.connections.load(Ordering::Relaxed) as u64,
            usage_queue: shared.ledger.waiting() as u64,
            journal: shared.ledger.journal_state(),
            keys: shared.keys.len() as u64,
            snapshot_version: shared.snapshot.load().version,
        }
    }
}
