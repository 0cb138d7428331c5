//! `penstock._core`: what crosses between Python and the data plane, and nothing else.
//!
//! `python/penstock/_core.pyi` documents every item. Nothing here decides anything: arguments are
//! handed on, the GIL is released around whatever may take longer than a few microseconds, and one
//! helper turns a message into an exception.

mod engine;
mod functions;
mod load;
mod simulator;

use pyo3::prelude::*;

/// A wrong argument, as Python says it.
fn value_error(message: impl ToString) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(message.to_string())
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<load::Load>()?;
    module.add_class::<simulator::Simulator>()?;
    functions::register(module)
}
