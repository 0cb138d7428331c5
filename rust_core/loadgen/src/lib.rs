//! A load generator for gateways: closed and open loop, unary and SSE over HTTP/1.1, unary and streamed gRPC.
//!
//! It is apart from the gateway because it is its judge: it shares the HTTP framing with it and
//! nothing else. One thread and one current-thread runtime by default, the request is encoded once,
//! and answers are scanned rather than parsed, so that on two cores the client leaves most of its
//! core to the upstream. Memory does not grow with the number of requests: samples go into
//! histograms, open-loop arrivals are a counter.
//!
//! Latencies of an open loop are measured from the moment a request was *due*, not from when a
//! connection was free to send it; a server that stalls cannot hide the requests that waited
//! behind the stall (coordinated omission).

mod caller;
mod control;
mod course;
mod cpu;
mod deltas;
mod drive;
mod failure;
mod grpc;
mod histogram;
mod http1;
mod options;
mod pacer;
mod phase;
mod plan;
mod recorder;
mod report;
mod sse;
mod transport;

use std::fmt;
use std::sync::Arc;

pub use control::{Control, Progress};
pub use course::Second;
pub use histogram::Histogram;
pub use options::{GrpcOptions, Options, Order, StreamOptions};
pub use report::{FirstError, Quantiles, Report, StreamReport};

/// Why no load could be generated. Failures of single requests are counted in the report instead.
#[derive(Debug)]
pub enum LoadError {
    /// An option cannot be used; the message names it and the fix.
    Options(String),
    /// The runtime or a thread could not be started.
    Runtime(std::io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(message) => f.write_str(message),
            Self::Runtime(cause) => write!(f, "the load generator could not start: {cause}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Generates the load that `options` describe and waits for its end.
pub fn run(options: &Options) -> Result<Report, LoadError> {
    run_with(options, &Arc::default())
}

/// [`run`], with a hold on the load for other threads.
pub fn run_with(options: &Options, control: &Arc<Control>) -> Result<Report, LoadError> {
    let plan = Arc::new(plan::Plan::new(options)?);
    match &plan.grpc {
        Some(call) => drive::drive(&plan, control, || grpc::Grpc::group(&plan, call)),
        None => drive::drive(&plan, control, || vec![http1::Http1::new(Arc::clone(&plan))]),
    }
}

/// [`run_with`] for callers that speak JSON: the bytes of an [`Options`] in, those of a [`Report`] out.
pub fn run_json(options: &[u8], control: &Arc<Control>) -> Result<Vec<u8>, LoadError> {
    let options: Options = serde_json::from_slice(options).map_err(|e| LoadError::Options(format!("options: {e}")))?;
    let report = run_with(&options, control)?;
    serde_json::to_vec(&report).map_err(|e| LoadError::Runtime(e.into()))
}
