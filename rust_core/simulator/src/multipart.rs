//! `multipart/form-data` (RFC 7578), as uploads come.

use memchr::memmem;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) data: &'a [u8],
}

/// The parts of a body, or `None` when the content type or the body is not multipart.
pub(crate) fn parse<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    let mark = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest = body.get(memmem::find(body, mark.as_bytes())? + mark.len()..)?;
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        let start = memmem::find(rest, b"\r\n\r\n")?;
        let head = std::str::from_utf8(rest.get(..start)?).ok()?;
        let after = rest.get(start + 4..)?;
        let end = memmem::find(after, between.as_bytes())?;
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        let (_, parameters) = disposition.split_once(';')?;
        parts.push(Part {
            name: parameter(parameters, "name")?,
            filename: parameter(parameters, "filename"),
            data: after.get(..end)?,
        });
        rest = after.get(end + between.len()..)?;
    }
    Some(parts)
}

/// A text field's value.
pub(crate) fn text<'a>(parts: &[Part<'a>], name: &str) -> Option<&'a str> {
    parts.iter().find(|p| p.name == name).and_then(|p| std::str::from_utf8(p.data).ok())
}

fn parameter(parameters: &str, name: &str) -> Option<String> {
    parameters.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
            \x00\r\n\xff\r\n--x--\r\n";
        let parts = parse("multipart/form-data; boundary=\"x\"", body).unwrap();
        assert_eq!(text(&parts, "model"), Some("whisper"));
        assert_eq!(parts[1].filename.as_deref(), Some("a.wav"));
        assert_eq!(parts[1].data, b"\x00\r\n\xff");
    }

    #[test]
    fn what_is_not_multipart() {
        assert_eq!(parse("application/json", b"{}"), None);
        assert_eq!(parse("multipart/form-data; boundary=x", b"--x\r\nno end"), None);
    }
}
