//! `Tokenize`: the tokens of a text in the vocabulary that the gateway counts a model's prompts with.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};

use super::put;
use super::read::{Value, each, text};
use crate::auth::record::Key;
use crate::errors::{Failure, Kind, Outcome};
use crate::phases::find_model;
use crate::snapshot::Snapshot;
use crate::tokens;

/// What clients take in one message, by their own setting.
const MOST: usize = 20 << 20;

/// `TokenizeTextResponse`.
///
/// # Errors
/// The text is no text, the model is not to be used, or its tokens are more than a client takes.
pub(super) fn text_tokens(snapshot: &Snapshot, key: Option<&Key>, message: &[u8]) -> Outcome<Bytes> {
    let (mut content, mut model) = ("", "");
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => content = text("text", bytes)?,
            (2, Value::Bytes(bytes)) => model = text("model", bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    let found = find_model(snapshot, key, model)?;
    let encoding = found.group.deployments.first().map_or_else(Default::default, |first| first.tokenizer);
    // English has four bytes to a token, and a token here is its number, twice its bytes, and their frames.
    let mut out = BytesMut::with_capacity((content.len().saturating_mul(5) + 64).min(MOST));
    let ended = tokens::encode(encoding, content, |rank, bytes| {
        put::message(&mut out, 1, |out| {
            put::number(out, 1, u64::from(rank));
            put::text(out, 2, &String::from_utf8_lossy(bytes));
            put::bytes(out, 4, bytes);
        });
        if out.len() > MOST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if ended.is_break() {
        let message = format!("The tokens of this text take more than {MOST} bytes; send it in parts.");
        return Err(Failure::new(Kind::BodyTooLarge, message).param("text"));
    }
    put::text(&mut out, 2, model);
    Ok(out.freeze())
}
