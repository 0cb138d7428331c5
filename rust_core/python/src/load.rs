//! `Load`, and `run_load` for those who only wait.

use std::sync::Arc;

use penstock_loadgen as loadgen;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::value_error;

#[pyfunction]
pub(crate) fn run_load<'py>(py: Python<'py>, options: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let report = py.detach(|| loadgen::run_json(options, &Arc::default())).map_err(value_error)?;
    Ok(PyBytes::new(py, &report))
}

#[pyclass(frozen, module = "penstock._core")]
pub(crate) struct Load {
    options: Vec<u8>,
    control: Arc<loadgen::Control>,
}

#[pymethods]
impl Load {
    #[new]
    fn new(options: &[u8]) -> Self {
        Self { options: options.to_vec(), control: Arc::default() }
    }

    fn run<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let report = py.detach(|| loadgen::run_json(&self.options, &self.control)).map_err(value_error)?;
        Ok(PyBytes::new(py, &report))
    }

    fn stop(&self) {
        self.control.stop();
    }

    fn progress(&self) -> (f64, u64, u64) {
        let progress = self.control.progress();
        (progress.elapsed.as_secs_f64(), progress.requests, progress.errors)
    }
}
