//! gRPC: many calls at a time on one HTTP/2 connection.
//!
//! Apart from HTTP/1.1 because a connection is shared here, and because messages are counted where there events are. It
//! knows the framing of gRPC and one message's place for text; requests come as bytes from whoever asks for the load.

mod answer;
mod caller;
mod connection;
mod frame;
mod message;
mod request;
mod status;

pub(crate) use caller::Grpc;
pub(crate) use request::Call;
pub(crate) use status::{Status, Violation};
