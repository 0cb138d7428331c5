//! Reads messages off the wire, field by field, and says where in a request something is wrong.
//!
//! Failures carry the path of the field. It is put together on the way out, so that a request that is in order pays
//! nothing for it.

use super::json::too_large;
use crate::errors::{Failure, Kind, Outcome};
use crate::grpc::wire::Reader;
pub(super) use crate::grpc::wire::Value;

fn wrong(what: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(Kind::BadRequest, what)
}

/// A field that is not what it must be.
pub(super) fn bad(field: &'static str, what: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    wrong(what).param(field)
}

/// Puts `outer` before the path of a failure's field.
pub(super) fn within<T, P: std::fmt::Display>(outer: impl FnOnce() -> P, outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|failure| {
        let path = match &failure.param {
            Some(inner) => format!("{}.{inner}", outer()),
            None => outer().to_string(),
        };
        failure.param(path)
    })
}

/// A failure whose message begins with the path of its field, where the field is what is wrong.
pub(super) fn named(mut failure: Failure) -> Failure {
    let of_field = matches!(failure.kind, Kind::BadRequest | Kind::ParameterUnsupported);
    if of_field {
        let param = failure.param.as_deref().unwrap_or("the request");
        failure.message = format!("{param}: {}", failure.message).into();
    }
    failure
}

/// A string.
pub(super) fn text<'a>(field: &'static str, bytes: &'a [u8]) -> Outcome<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| bad(field, "is not UTF-8"))
}

/// A number that JSON can express.
pub(super) fn float(field: &'static str, bits: u32) -> Outcome<f32> {
    let number = f32::from_bits(bits);
    if number.is_finite() { Ok(number) } else { Err(bad(field, "must be a finite number")) }
}

/// What the value of an enum is called in JSON, where 1 is the first of `words` and 0 means not said.
pub(super) fn word(field: &'static str, value: u64, words: &[&'static str]) -> Outcome<Option<&'static str>> {
    let Some(place) = value.checked_sub(1) else { return Ok(None) };
    let word = usize::try_from(place).ok().and_then(|place| words.get(place).copied());
    word.map(Some).ok_or_else(|| bad(field, format!("has the unknown value {}", value as i32)))
}

/// Adds an element that is at least `least` bytes of JSON, unless so many have no room in the body: on the wire they may
/// be two bytes each.
pub(super) fn push<T>(list: &mut Vec<T>, element: T, least: usize, limit: usize) -> Outcome<()> {
    if list.len() >= limit / least {
        return Err(too_large(limit));
    }
    list.push(element);
    Ok(())
}

/// Calls `take` with the number and the value of every field of a message.
pub(super) fn each<'a>(message: &'a [u8], mut take: impl FnMut(u32, Value<'a>) -> Outcome<()>) -> Outcome<()> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next().map_err(|why| wrong(format!("is no protobuf message: {why}")))? {
        take(number, value)?;
    }
    Ok(())
}
