//! Golden cases and recordings of the Anthropic wire.

mod errors;
mod parameters;
mod recordings;
mod requests;
mod round_trips;
mod streams;
mod support;
