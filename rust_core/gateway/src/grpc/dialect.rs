//! Whose words a call is in: Penstock's own messages or xAI's. Both become the same REST request.

use bytes::{Bytes, BytesMut};

use super::frame::Messages;
use super::{penstock, xai};
use crate::errors::Outcome;

/// Translates one call's messages.
#[derive(Debug)]
pub(crate) enum Dialect {
    /// `penstock.v1`
    Penstock(penstock::Translator),
    /// `xai_api`
    Xai(Box<xai::Translator>),
}

impl Dialect {
    /// One request message as the JSON body of the REST route, `stream` added where the method streams. The body may
    /// have `limit` bytes, like any that comes over REST: it can be many times longer than the message.
    ///
    /// # Errors
    /// A field is wrong; it is named. Or the body is too large.
    pub(crate) fn request(&mut self, message: &[u8], limit: usize) -> Outcome<Bytes> {
        match self {
            Self::Penstock(t) => t.request(message, limit),
            Self::Xai(t) => t.request(message, limit),
        }
    }

    /// A whole JSON answer as one message.
    ///
    /// # Errors
    /// It is not what its wire promises.
    pub(crate) fn answer(&mut self, json: &[u8], out: &mut BytesMut) -> Outcome<()> {
        match self {
            Self::Penstock(t) => t.answer(json, out),
            Self::Xai(t) => t.answer(json, out),
        }
    }

    /// One event of a stream as zero or more messages.
    ///
    /// # Errors
    /// It is not what its wire promises.
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8], messages: &mut Messages) -> Outcome<()> {
        match self {
            Self::Penstock(t) => t.event(name, data, messages),
            Self::Xai(t) => t.event(name, data, messages),
        }
    }

    /// What the call cost, in US dollars as the metadata has it: told before the end of a stream or of an answer.
    pub(crate) fn cost(&mut self, usd: &[u8]) {
        match self {
            Self::Penstock(_) => {}
            Self::Xai(t) => t.cost(usd),
        }
    }

    /// Appends to a whole answer what was not known when it was translated.
    pub(crate) fn finish_answer(&self, out: &mut BytesMut) {
        match self {
            Self::Penstock(_) => {}
            Self::Xai(t) => t.finish_answer(out),
        }
    }

    /// The stream ended well: what is still held back.
    ///
    /// # Errors
    /// What is held back is not what its wire promises.
    pub(crate) fn end(&mut self, messages: &mut Messages) -> Outcome<()> {
        match self {
            Self::Penstock(_) => Ok(()),
            Self::Xai(t) => t.end(messages),
        }
    }
}
