//! `Simulator`.

use std::sync::{Mutex, PoisonError};

use penstock_simulator as simulator;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::value_error;

#[pyclass(frozen, module = "penstock._core")]
pub(crate) struct Simulator {
    options: simulator::Options,
    running: Mutex<Option<simulator::Simulator>>,
}

#[pymethods]
impl Simulator {
    #[new]
    fn new(options: &[u8]) -> PyResult<Self> {
        let options = serde_json::from_slice(options).map_err(value_error)?;
        Ok(Self { options, running: Mutex::default() })
    }

    fn start(&self, py: Python<'_>) -> PyResult<u16> {
        py.detach(|| {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.is_none() {
                *running = Some(simulator::Simulator::start(self.options.clone())?);
            }
            running.as_ref().map(simulator::Simulator::port).ok_or_else(|| std::io::Error::other("not running"))
        })
        .map_err(|e: std::io::Error| PyOSError::new_err((e.raw_os_error(), e.to_string())))
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(mut running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
                running.stop();
            }
        });
    }
}
