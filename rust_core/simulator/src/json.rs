//! Small pieces of JSON writing: answers are rendered by hand, only strings from outside need care.

use bytes::{BufMut, BytesMut};

/// The text as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into())
}

/// The text as the inside of a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let mut quoted = quoted(text);
    quoted.pop();
    quoted.remove(0);
    quoted
}

/// Formats into a buffer; writing to memory does not fail.
pub(crate) fn put_args(out: &mut BytesMut, args: std::fmt::Arguments<'_>) {
    use std::fmt::Write;
    match args.as_str() {
        Some(text) => out.put_slice(text.as_bytes()),
        None => {
            let _ = out.write_fmt(args);
        }
    }
}

/// `put_args(out, format_args!(...))`.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { $crate::json::put_args(&mut $out, format_args!($($arg)*)) };
}
pub(crate) use put;

/// Unix seconds.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
