//! Log probabilities of completions: a list of tokens in the message, four arrays side by side in JSON.

use bytes::BufMut;

use super::error::{Done, Wrong};
use super::extra::{Extra, twice};
use super::out::Out;
use super::survey::Survey;
use super::{close, contents, scalar};
use crate::grpc::schema::{Field, Kind, Message};

/// What a token is in each array: the array, the token's field, and whether tokens without it are left out there instead
/// of being null.
const COLUMNS: [(&str, u32, bool); 4] =
    [("tokens", 1, false), ("token_logprobs", 2, false), ("text_offset", 3, true), ("top_logprobs", 4, false)];

/// The members of the object.
pub(super) fn members(
    survey: &Survey<'_>,
    schema: &Message,
    extra: &Extra<'_>,
    depth: usize,
    out: &mut Out<'_>,
) -> Done {
    let Some((tokens, token)) = schema.fields.first().and_then(|field| match field.kind {
        Kind::Message(token) => Some((field, token)),
        _ => None,
    }) else {
        return Ok(());
    };
    for (name, number, leave_out) in COLUMNS {
        if extra.has(name) {
            if survey.present != 0 {
                return Err(twice(name));
            }
            continue;
        }
        scalar::string(name.as_bytes(), out);
        out.extend_from_slice(b":[");
        let mut reader = survey.reader()?;
        reader.start(tokens);
        let mut index = 0;
        while let Some(value) = reader.next(tokens)? {
            let field = token.by_number(number).and_then(|place| token.fields.get(place));
            let written = match field {
                Some(field) => cell(value.bytes().unwrap_or_default(), token, field, depth, out),
                None => Ok(false),
            };
            if !written.map_err(|wrong| wrong.at(index).inside(name))? && !leave_out {
                out.extend_from_slice(b"null,");
            }
            out.check()?;
            index += 1;
        }
        close(out, b']');
        out.put_u8(b',');
    }
    Ok(())
}

/// A token's value in one array; false when it has none.
fn cell(
    message: &[u8],
    token: &'static Message,
    field: &'static Field,
    depth: usize,
    out: &mut Out<'_>,
) -> Result<bool, Wrong> {
    let survey = Survey::of(message, token)?;
    let mut reader = survey.anywhere()?;
    let is_set =
        token.fields.iter().zip(0..).any(|(one, at)| one.number == field.number && survey.present >> at & 1 != 0);
    match field.kind {
        _ if is_set => {
            contents(field, &mut reader, depth, out)?;
        }
        Kind::Text => scalar::string(&[], out),
        _ => return Ok(false),
    }
    out.put_u8(b',');
    Ok(true)
}
