//! Images and documents: URLs, data URLs and file ids as Anthropic's sources.

use serde_json::value::RawValue;

use super::params::ParamError;
use super::wire::{Block, Source};
use crate::canonical::FilePart;

/// The block of an `image_url` part. A data URL may also hold a PDF.
pub(super) fn image<'a>(
    url: &'a str,
    cache_control: Option<&'a RawValue>,
    path: &str,
) -> Result<Block<'a>, ParamError> {
    let path = format!("{path}.image_url.url");
    if is_remote(url) {
        return Ok(Block::Image { source: Source::Url { url }, cache_control });
    }
    inline(url, None, cache_control, &path)
}

/// The block of a `file` part, and whether it refers to an uploaded file.
pub(super) fn file<'a>(
    file: &'a FilePart,
    cache_control: Option<&'a RawValue>,
    path: &str,
) -> Result<(Block<'a>, bool), ParamError> {
    let title = file.filename.as_deref().filter(|name| !name.is_empty());
    match (file.file_data.as_deref(), file.file_id.as_deref()) {
        (Some(data), _) if is_remote(data) => {
            Ok((Block::Document { source: Source::Url { url: data }, title, cache_control }, false))
        }
        (Some(data), _) => Ok((inline(data, title, cache_control, &format!("{path}.file.file_data"))?, false)),
        (None, Some(url)) if is_remote(url) => {
            Ok((Block::Document { source: Source::Url { url }, title, cache_control }, false))
        }
        (None, Some(file_id)) => Ok((Block::Document { source: Source::File { file_id }, title, cache_control }, true)),
        (None, None) => Err(ParamError::new(format!("{path}.file"), "needs `file_data` or `file_id`")),
    }
}

fn is_remote(url: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

fn inline<'a>(
    url: &'a str,
    title: Option<&'a str>,
    cache_control: Option<&'a RawValue>,
    path: &str,
) -> Result<Block<'a>, ParamError> {
    let bad = |message: &str| ParamError::new(path, message);
    let (head, data) = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','))
        .ok_or_else(|| bad("must be an http(s) URL or a data URL (`data:<media type>;base64,<data>`)"))?;
    let head = head.strip_suffix(";base64").ok_or_else(|| bad("a data URL must be base64-encoded"))?;
    let media_type = head.split(';').next().unwrap_or_default().trim();
    if data.is_empty() {
        return Err(bad("the data URL holds no data"));
    }
    match media_type.split_once('/') {
        Some(("image", _)) => {
            // The registered name; some clients send the file extension instead.
            let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
            Ok(Block::Image { source: Source::Base64 { media_type, data }, cache_control })
        }
        Some(("application", "pdf")) => {
            Ok(Block::Document { source: Source::Base64 { media_type, data }, title, cache_control })
        }
        Some(("text", _)) | Some(("application", "json" | "xml" | "yaml" | "x-yaml")) => {
            let text = decode_base64(data)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| bad("the data is not base64-encoded UTF-8 text"))?;
            Ok(Block::Document { source: Source::Text { media_type: "text/plain", data: text }, title, cache_control })
        }
        _ => Err(bad("Anthropic takes images, PDF and plain text; other media types cannot be sent")),
    }
}

/// Standard base64 (RFC 4648, section 4), padding optional.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((buffer >> bits) & 0xff).ok()?);
            buffer &= (1 << bits) - 1;
        }
    }
    (bits < 6).then_some(bytes)
}
