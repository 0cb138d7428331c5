//! The server's side of HTTP/2 (RFC 9113, RFC 7541) for a thread that shares nothing.
//!
//! It is apart because framing is where a client can do harm to others: one small crate that knows nothing of routes,
//! refuses what the RFCs call an error and bounds what the RFCs leave open. And it is our own because a gateway whose
//! threads share nothing needs none of what makes a library usable from everywhere: no locks, no task or channel for a
//! stream, no map of header fields. A head is one buffer; what a connection says often is a byte and costs as much.
//!
//! ```text
//!  connection  the socket: reads, writes once per turn, ends     handle    what those have who answer a stream
//!  core        the state that both of them work on               stream    one stream, and the table of them
//!  inbound     what a client's frames do                         flow      who may send how much
//!  opening     those that carry header blocks                    abuse     what nobody needs
//!  outbound    heads of answers, trailers, resets                ping      pings, and the goodbye
//!  out         what was written and has not left
//!  frame, settings, hpack, head, field: bytes and what they mean
//! ```

mod abuse;
mod connection;
mod core;
mod error;
mod field;
mod flow;
mod frame;
mod handle;
mod head;
mod hpack;
mod inbound;
mod opening;
mod out;
mod outbound;
mod ping;
mod settings;
mod stream;

pub use connection::{Connection, PREFACE};
pub use error::{Closed, Reason};
pub use handle::{Answer, Body, PingPong, Request};
pub use head::Head;
pub use settings::Config;
