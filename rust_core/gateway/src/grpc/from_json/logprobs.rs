//! Log probabilities of completions: four arrays side by side in JSON, a list of tokens in the message.

use bytes::BytesMut;

use super::error::{Done, deeper};
use super::extra;
use super::fit::{self, Fits};
use super::reading::Reading;
use crate::grpc::schema::{Kind, Message};
use crate::grpc::wire;

/// Where each array begins, in the order of [`NAMES`].
pub(super) type Columns<'a> = [Option<Reading<'a>>; 4];

/// The arrays, and the fields of a token that they are.
const NAMES: [(&[u8], u32); 4] = [(b"tokens", 1), (b"token_logprobs", 2), (b"text_offset", 3), (b"top_logprobs", 4)];

/// Whether a member is one of the arrays.
pub(super) fn is_column(key: &[u8]) -> bool {
    NAMES.iter().any(|(name, _)| *name == key)
}

/// Keeps the place of an array for later and steps over it.
pub(super) fn note<'a>(columns: &mut Columns<'a>, key: &[u8], reading: &mut Reading<'a>) -> Done {
    for ((name, _), column) in NAMES.iter().zip(columns) {
        if *name == key && column.is_none() {
            *column = Some(reading.clone());
        }
    }
    reading.skip()
}

/// Writes the tokens; what does not make a list of them goes to `extra` as it is.
pub(super) fn tokens(columns: &Columns<'_>, schema: &'static Message, depth: usize, out: &mut BytesMut) -> Done {
    let before = out.len();
    if together(columns.clone(), schema, depth, out)? {
        return Ok(());
    }
    out.truncate(before);
    for ((name, _), column) in NAMES.iter().zip(columns) {
        if let Some(mut column) = column.clone() {
            extra::member(&mut column, schema, (*name).into(), depth, out)?;
        }
    }
    Ok(())
}

fn together(mut columns: Columns<'_>, schema: &'static Message, depth: usize, out: &mut BytesMut) -> Fits {
    let Some(Kind::Message(token)) = schema.fields.first().map(|field| field.kind) else { return Ok(false) };
    let depth = deeper(depth)?;
    let mut more = [false; 4];
    for (column, more) in columns.iter_mut().zip(&mut more) {
        let Some(reading) = column else { continue };
        if reading.peek() == Some(b'[') {
            *more = reading.open(b'[', b']');
        } else if !reading.null()? {
            return Ok(false);
        }
    }
    while more.first() == Some(&true) {
        let mark = wire::begin(out, 1);
        for (((_, number), column), more) in NAMES.iter().zip(&mut columns).zip(&mut more) {
            let (Some(reading), true) = (column, *more) else { continue };
            let fields = token.by_number(*number).and_then(|place| token.fields.get(place..)).unwrap_or_default();
            let is_token = *number == 1;
            // The first token of an echoed prompt has no probability, and others may have no alternatives.
            let is_nothing = !is_token && (reading.null()? || (*number == 4 && is_empty(reading)));
            if !is_nothing && !fit::any(reading, fields, false, depth, out)? {
                return Ok(false);
            }
            *more = reading.another(b']')?;
        }
        wire::end(out, mark);
    }
    Ok(!more.contains(&true))
}

/// Whether an object without members comes next; if so it is stepped over.
fn is_empty(reading: &mut Reading<'_>) -> bool {
    let before = reading.clone();
    let empty = reading.peek() == Some(b'{') && !reading.open(b'{', b'}');
    if !empty {
        *reading = before;
    }
    empty
}
