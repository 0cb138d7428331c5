//! Finding one text field of a `multipart/form-data` body (RFC 7578) without copying the rest.

use memchr::memmem;

/// The value of the field `name`, with its place in the body; `None` when there is no such text field.
#[must_use]
pub fn text_field<'a>(content_type: &str, body: &'a [u8], name: &str) -> Option<(&'a str, std::ops::Range<usize>)> {
    let boundary = content_type.split(';').find_map(|p| {
        let (key, value) = p.trim().split_once('=')?;
        key.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })?;
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut marks = memmem::find_iter(body, delimiter.as_bytes()).peekable();
    while let Some(mark) = marks.next() {
        let start = mark + delimiter.len() + 2;
        let end = marks.peek().copied()?.checked_sub(2)?;
        let Some(part) = body.get(start..end) else { continue };
        let Some(gap) = memmem::find(part, b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(part.get(..gap)?).ok()?;
        if is_field(head, name) {
            let value = std::str::from_utf8(part.get(gap + 4..)?).ok()?;
            return Some((value, start + gap + 4..end));
        }
    }
    None
}

fn is_field(head: &str, name: &str) -> bool {
    head.split("\r\n").any(|line| {
        let Some((key, value)) = line.split_once(':') else { return false };
        key.trim().eq_ignore_ascii_case("content-disposition")
            && value.split(';').any(|p| p.trim().strip_prefix("name=").is_some_and(|v| v.trim_matches('"') == name))
            && !value.contains("filename")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n\r\n--xy\r\n--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--xyz--\r\n";

    #[test]
    fn finds_the_text_field_and_its_place() {
        let (value, place) = text_field("multipart/form-data; boundary=xyz", BODY, "model").unwrap();
        assert_eq!(value, "whisper-1");
        assert_eq!(&BODY[place], b"whisper-1");
    }

    #[test]
    fn a_file_is_no_text_field_and_a_cut_body_is_no_panic() {
        assert!(text_field("multipart/form-data; boundary=xyz", BODY, "file").is_none());
        for cut in 0..BODY.len() {
            let _ = text_field("multipart/form-data; boundary=\"xyz\"", &BODY[..cut], "model");
        }
    }
}
