//! Reading and writing the percent-encoded parts of a request target.

/// The text with `%XX` decoded; what is not such a triplet stays.
#[must_use]
pub fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = (b == b'%').then(|| Some((ahead.next()?, ahead.next()?))).flatten().and_then(|(h, l)| {
            let digit = |d: u8| char::from(d).to_digit(16);
            u8::try_from(digit(h)? * 16 + digit(l)?).ok()
        });
        match hex {
            Some(decoded) => {
                out.push(decoded);
                bytes = ahead;
            }
            None => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of a query parameter, decoded (`+` is a space there).
#[must_use]
pub fn query_value(target: &str, name: &str) -> Option<String> {
    let query = target.split_once('?')?.1;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode(&value.replace('+', " ")))
    })
}

/// The text as one path segment: everything but unreserved characters (RFC 3986) is encoded.
#[must_use]
pub fn path_segment(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    let dots = matches!(text, "." | "..");
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~') || (b == b'.' && !dots) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Whether some server on the way could read a segment of the path as `.` or `..`.
#[must_use]
pub fn climbs(path: &str) -> bool {
    if !path.contains('.') && !path.contains('%') {
        return false;
    }
    percent_decode(path)
        .split(['/', '\\'])
        .map(|segment| segment.split_once(';').map_or(segment, |(s, _)| s))
        .any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_in_every_disguise() {
        for path in ["/a/../b", "/a/%2e%2E/b", "/a/..%2Fb", "/a/..\\b", "/a/..;x/b", "/./a", "/a/.."] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/a/b", "/models/gpt-4.1", "/a/...", "/a/..b", "/a/%41"] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(path_segment("x?y#z/ \r\n%"), "x%3Fy%23z%2F%20%0D%0A%25");
        assert_eq!(path_segment(".."), "%2E%2E");
        assert_eq!(path_segment("gpt-4.1_a~"), "gpt-4.1_a~");
        assert_eq!(query_value("/f?a=1&model=openai%2Fgpt+4", "model").as_deref(), Some("openai/gpt 4"));
    }
}
