//! Events of a provider's stream.
//!
//! By the time a frame gets here its end has been found; name and data are looked for once.

use bytes::Bytes;

use crate::errors::Outcome;
use crate::sse::{self, Frames};

/// Calls `then` with name and data of every frame that has data, until it fails. Mostly there is one frame; a translator
/// makes several at once.
pub(crate) fn each(mut frames: &[u8], mut then: impl FnMut(&[u8], &[u8]) -> Outcome<()>) -> Outcome<()> {
    while !frames.is_empty() {
        if let Some((name, data, rest)) = plain(frames) {
            then(name, data)?;
            frames = rest;
            continue;
        }
        // The last may lack its blank line.
        let end = Frames::new().end(frames).unwrap_or(frames.len());
        let (frame, rest) = frames.split_at_checked(end).unwrap_or((frames, &[]));
        if let Some(event) = sse::parse(&Bytes::copy_from_slice(frame)) {
            then(&event.kind, &event.data)?;
        }
        frames = rest;
    }
    Ok(())
}

/// Name, data and what follows of the usual frame: perhaps a line with a name, one line of data, a blank line.
fn plain(frames: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = match frames.strip_prefix(b"event:") {
        Some(rest) => line(rest)?,
        None => (&[][..], frames),
    };
    let (data, rest) = line(rest.strip_prefix(b"data:")?)?;
    let rest = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n"))?;
    Some((name, data, rest))
}

/// The value up to the end of the line, and what follows the line.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text)?;
    let (value, rest) = (text.get(..end)?, text.get(end + 1..)?);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    let value = value.strip_prefix(b" ").unwrap_or(value);
    // A carriage return by itself ends a line as well.
    (memchr::memchr(b'\r', value).is_none()).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(frames: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        each(frames.as_bytes(), |name, data| {
            found.push((text(name), text(data)));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn name_and_data_however_they_are_written() {
        let pair = |n: &str, d: &str| vec![(n.to_owned(), d.to_owned())];
        assert_eq!(split("data: {}\n\n"), pair("", "{}"));
        assert_eq!(split("data:{}\r\n\r\n"), pair("", "{}"));
        assert_eq!(split("event: a\ndata: {}\n\n"), pair("a", "{}"));
        assert_eq!(split("data: {}\nevent: a\n\n"), pair("a", "{}"));
        assert_eq!(split(": comment\ndata: {}\n\n"), pair("", "{}"));
        assert_eq!(split("data: {\ndata: }\n\n"), pair("", "{\n}"));
        assert_eq!(split("data: {}\rid: 1\r\r"), pair("", "{}"));
        assert_eq!(split("data: {}"), pair("", "{}"));
        assert_eq!(split(": keep-alive\n\n"), []);
        assert_eq!(split("\n"), []);
        let several = ["data: 1\n\n", "data: 2\ndata: 3\n\n", "event: a\r\ndata: 4\r\n\r\n", "data: [DONE]"].concat();
        let expected = [pair("", "1"), pair("", "2\n3"), pair("a", "4"), pair("", "[DONE]")].concat();
        assert_eq!(split(&several), expected);
    }
}
