//! Anthropic's Messages API, met in the canonical form.
//!
//! Requests are translated whole or refused with the name of the parameter; answers and streams are translated
//! without losing text, thinking signatures, tool arguments or usage. What OpenAI's API has no place for is put
//! under `provider_specific_fields`, and read from there when the client sends the message back.
//!
//! Nothing here does I/O: bytes and events in, bytes out.

mod betas;
mod blocks;
mod content;
mod error;
mod media;
mod params;
mod relay;
mod request;
mod response;
mod stream;
mod thinking;
mod tools;
mod turns;
mod usage;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

pub use error::{UpstreamError, WireError, error};
pub use params::{ParamError, RequestOptions};
pub use relay::prepare;
pub use request::{Translated, request};
pub use response::{ResponseContext, response};
pub use stream::StreamTranslator;
pub use watch::{UsageWatch, generated_text};
