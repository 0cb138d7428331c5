//! Finding one text field of a `multipart/form-data` body (RFC 7578) without copying the rest.

use std::ops::Range;

use memchr::memmem;

/// The value of the field `name`, with its place in the body; `None` when there is no such field.
///
/// # Errors
/// Two readers could take different values for it: it is there twice, or it is a file, or the body is malformed.
pub fn text_field<'a>(
    content_type: &str,
    body: &'a [u8],
    name: &str,
) -> Result<Option<(&'a str, Range<usize>)>, &'static str> {
    let boundary = content_type
        .split(';')
        .find_map(|p| {
            let (key, value) = p.trim().split_once('=')?;
            key.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
        })
        .filter(|b| !b.is_empty() && b.len() <= 70)
        .ok_or("names no boundary in its Content-Type")?;
    let delimiter = format!("--{boundary}");
    let mut marks = memmem::find_iter(body, delimiter.as_bytes()).peekable();
    let mut found = None;
    while let Some(mark) = marks.next() {
        let start = mark + delimiter.len() + 2;
        let Some(end) = marks.peek().and_then(|next| next.checked_sub(2)) else { break };
        let Some(part) = body.get(start..end) else { continue };
        let Some(gap) = memmem::find(part, b"\r\n\r\n") else { continue };
        match field(part.get(..gap).unwrap_or_default(), name) {
            Field::Other => {}
            Field::File => return Err("sends the field as a file"),
            Field::Text if found.is_some() => return Err("names the field twice"),
            Field::Text => {
                let value = std::str::from_utf8(part.get(gap + 4..).unwrap_or_default())
                    .map_err(|_| "is not UTF-8 in the field")?;
                found = Some((value, start + gap + 4..end));
            }
        }
    }
    Ok(found)
}

enum Field {
    Text,
    File,
    Other,
}

/// What a part's head says it is, read as leniently as the most lenient reader would.
fn field(head: &[u8], name: &str) -> Field {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let Some(line) = head.split("\r\n").find(|line| line.trim_start().starts_with("content-disposition")) else {
        return Field::Other;
    };
    let parameter = |wanted: &str| {
        line.split(';').find_map(|p| {
            let (key, value) = p.split_once('=')?;
            (key.trim().trim_end_matches('*') == wanted).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        })
    };
    let called = parameter("name").is_some_and(|n| n.rsplit("''").next() == Some(name));
    match (called, parameter("filename")) {
        (false, _) => Field::Other,
        (true, Some(_)) => Field::File,
        (true, None) => Field::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xyz";
    const BODY: &[u8] = b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n\r\n--xy\r\n--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--xyz--\r\n";

    #[test]
    fn finds_the_text_field_and_its_place() {
        let (value, place) = text_field(TYPE, BODY, "model").unwrap().unwrap();
        assert_eq!(value, "whisper-1");
        assert_eq!(&BODY[place], b"whisper-1");
        assert_eq!(text_field(TYPE, BODY, "language"), Ok(None));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        assert!(text_field(TYPE, BODY, "file").is_err());
        let second = b"--xyz\r\ncontent-disposition: form-data; name=model\r\n\r\nother\r\n";
        let twice = [&second[..], BODY].concat();
        assert!(text_field(TYPE, &twice, "model").is_err());
        assert!(text_field("multipart/form-data", BODY, "model").is_err());
    }

    #[test]
    fn a_cut_body_is_no_panic() {
        for cut in 0..BODY.len() {
            let _ = text_field("multipart/form-data; boundary=\"xyz\"", &BODY[..cut], "model");
        }
    }
}
