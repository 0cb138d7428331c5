//! How a call ended, in gRPC's words: code, message, and the details that say the same to a program.
//!
//! One table for all kinds of failure, beside the one that gives each its REST status; `proto/README.md` shows both.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{base64, wire};
use crate::errors::{Failure, Kind, Source};
use crate::listener::exchange::HeaderLines;

/// A status code of gRPC (its `statuscodes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Bytes of a message that are told. A provider may have much to say, and clients bound the metadata they take.
const LONGEST: usize = 1024;
/// And as it is written in `grpc-message`, where most letters of most languages take three times their bytes.
const LONGEST_ENCODED: usize = 1536;
/// What failures of ours recommend to who speaks REST, and what that is here.
const REMEDIES: [(&str, &str); 2] = [
    ("`GET /v1/models`", "`penstock.v1.Models/List`"),
    (
        "send `model` in the body, the `x-penstock-model` header, or set `penstock.routing.passthrough_group`",
        "set the field `model`",
    ),
];
/// Bytes of a message that a detail repeats.
const REPEATED: usize = 512;

/// How a call ended.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// The code.
    pub(crate) code: Code,
    /// For people.
    pub(crate) message: String,
    /// A `google.rpc.Status`; empty: there is nothing more to tell.
    pub(crate) details: Bytes,
    /// Milliseconds after which to try again; negative: not at all; `None`: as the client sees fit.
    pub(crate) pushback: Option<i64>,
}

impl Status {
    /// It ended well.
    pub(crate) const OK: Self = Self { code: Code::Ok, message: String::new(), details: Bytes::new(), pushback: None };

    /// It failed.
    pub(crate) fn of(failure: &Failure) -> Self {
        Self::with(code(failure), failure)
    }

    /// It failed in a way that has a code of its own in gRPC.
    pub(crate) fn with(code: Code, failure: &Failure) -> Self {
        let message = worded(failure);
        let message = cut(&message, LONGEST);
        Self {
            code,
            details: details(code, message, failure),
            message: message.to_owned(),
            pushback: pushback(code, failure),
        }
    }

    /// The client's time for the call is over.
    pub(crate) fn expired() -> Self {
        Self::of(&Failure::new(Kind::DeadlineExceeded, "The deadline of the call is over."))
    }

    /// As fields of trailers.
    pub(crate) fn put(&self, lines: &mut HeaderLines) {
        lines.add_number("grpc-status", self.code as u64);
        if self.code == Code::Ok {
            return;
        }
        let mut text = BytesMut::with_capacity(self.message.len() + 16);
        percent_encode(&self.message, LONGEST_ENCODED, &mut text);
        lines.add("grpc-message", &text);
        if !self.details.is_empty() {
            text.clear();
            base64::encode(&self.details, false, &mut text);
            lines.add("grpc-status-details-bin", &text);
        }
        if let Some(ms) = self.pushback {
            lines.add("grpc-retry-pushback-ms", ms.to_string().as_bytes());
        }
    }
}

/// The code of a failure.
fn code(failure: &Failure) -> Code {
    match failure.kind {
        // The status of budgets can be configured; what it means cannot.
        Kind::BudgetExceeded => Code::ResourceExhausted,
        Kind::NoDeployment => Code::Unavailable,
        Kind::RouteUnsupported => Code::Unimplemented,
        _ => code_of(failure.status()),
    }
}

/// The code that goes with a REST status.
fn code_of(status: u16) -> Code {
    match status {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        412 => Code::FailedPrecondition,
        402 | 413 | 429 => Code::ResourceExhausted,
        499 => Code::Cancelled,
        400..=498 => Code::InvalidArgument,
        500 => Code::Internal,
        501 => Code::Unimplemented,
        502.. => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// When to try again. Clients retry UNAVAILABLE by themselves: where the gateway has failed over already, and so has said
/// its last word, they are asked not to.
fn pushback(code: Code, failure: &Failure) -> Option<i64> {
    if let Some(ms) = failure.retry_after_ms {
        return Some(i64::try_from(ms).unwrap_or(i64::MAX));
    }
    let final_word = match code {
        Code::Unavailable => failure.source() == Source::Upstream,
        Code::ResourceExhausted => failure.source() != Source::Upstream,
        _ => false,
    };
    final_word.then_some(-1)
}

/// The message of a failure, for who speaks gRPC.
fn worded(failure: &Failure) -> Cow<'_, str> {
    let mut message = Cow::Borrowed(&*failure.message);
    if failure.source() != Source::Upstream {
        for (rest, here) in REMEDIES {
            if message.contains(rest) {
                message = Cow::Owned(message.replacen(rest, here, 1));
            }
        }
    }
    message
}

/// At most so many bytes, cut between characters.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// Everything but printable ASCII, and `%` itself, as `%XX` (gRPC over HTTP/2, "Responses"); as many whole characters as
/// `most` bytes hold.
fn percent_encode(text: &str, most: usize, out: &mut BytesMut) {
    let digit = |n: u8| b"0123456789ABCDEF".get(usize::from(n)).copied().unwrap_or_default();
    for letter in text.chars() {
        let before = out.len();
        if (' '..='~').contains(&letter) && letter != '%' {
            out.extend_from_slice(&[letter as u8]);
        } else {
            for &byte in letter.encode_utf8(&mut [0; 4]).as_bytes() {
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        if out.len() > most {
            out.truncate(before);
            return;
        }
    }
}

/// A `google.rpc.Status` with what a program may want to know.
fn details(code: Code, message: &str, failure: &Failure) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    wire::put_uint(&mut out, 1, code as u64);
    wire::put_bytes(&mut out, 2, message.as_bytes());
    detail(&mut out, "ErrorInfo", |out| error_info(out, failure));
    if let Some(param) = &failure.param {
        detail(&mut out, "BadRequest", |out| {
            wire::put_message(out, 1, |out| {
                wire::put_bytes(out, 1, cut(param, REPEATED).as_bytes());
                wire::put_bytes(out, 2, cut(message, REPEATED).as_bytes());
            });
        });
    }
    if let Some(ms) = failure.retry_after_ms {
        detail(&mut out, "RetryInfo", |out| wire::put_message(out, 1, |out| duration(out, ms)));
    }
    let is_limit = !matches!(failure.kind, Kind::BodyTooLarge | Kind::UpstreamStatus(413));
    if code == Code::ResourceExhausted && is_limit {
        detail(&mut out, "QuotaFailure", |out| {
            wire::put_message(out, 1, |out| {
                let ours = failure.subject.as_deref().unwrap_or("key");
                let whose = if failure.source() == Source::Upstream { "provider" } else { ours };
                wire::put_bytes(out, 1, cut(whose, REPEATED).as_bytes());
                let which = format!("{}: {}", cut(failure.type_name(), 64), cut(message, REPEATED));
                wire::put_bytes(out, 2, which.as_bytes());
            });
        });
    }
    out.freeze()
}

/// A `google.protobuf.Any` in the list of details.
fn detail(out: &mut BytesMut, name: &str, body: impl FnOnce(&mut BytesMut)) {
    wire::put_message(out, 3, |out| {
        wire::put_bytes(out, 1, format!("type.googleapis.com/google.rpc.{name}").as_bytes());
        wire::put_message(out, 2, body);
    });
}

fn error_info(out: &mut BytesMut, failure: &Failure) {
    let code = cut(failure.code(), 64);
    wire::put_bytes(out, 1, reason(code).as_bytes());
    wire::put_bytes(out, 2, b"penstock");
    let source = match failure.source() {
        Source::Client => "client",
        Source::Gateway => "gateway",
        Source::Upstream => "upstream",
    };
    let status = failure.status().to_string();
    let told = [
        ("code", Some(code)),
        ("type", Some(cut(failure.type_name(), 64))),
        ("source", Some(source)),
        ("status", Some(status.as_str())),
        ("param", failure.param.as_deref().map(|p| cut(p, REPEATED))),
    ];
    for (name, value) in told {
        let Some(value) = value else { continue };
        wire::put_message(out, 3, |out| {
            wire::put_bytes(out, 1, name.as_bytes());
            wire::put_bytes(out, 2, value.as_bytes());
        });
    }
}

/// The code as a reason, which is `[A-Z][A-Z0-9_]+[A-Z0-9]` and no longer than 63; a provider's code may be anything.
fn reason(code: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let upper: String = code.chars().take(50).map(letter).collect();
    let name = upper.trim_matches('_');
    if name.len() > 2 && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.to_owned()
    } else {
        format!("UPSTREAM_{name}").trim_end_matches('_').to_owned()
    }
}

/// The fields of a `google.protobuf.Duration`.
pub(crate) fn duration(out: &mut BytesMut, ms: u64) {
    if ms >= 1000 {
        wire::put_uint(out, 1, ms / 1000);
    }
    if !ms.is_multiple_of(1000) {
        wire::put_uint(out, 2, ms % 1000 * 1_000_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(failure: &Failure) -> Vec<(String, String)> {
        let mut lines = HeaderLines::default();
        Status::of(failure).put(&mut lines);
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        lines.iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    #[test]
    fn the_table_of_the_readme() {
        use Code::*;
        for (kind, expected) in [
            (Kind::KeyUnknown, Unauthenticated),
            (Kind::KeyBlocked, PermissionDenied),
            (Kind::ModelUnknown, NotFound),
            (Kind::BadRequest, InvalidArgument),
            (Kind::ParameterUnsupported, InvalidArgument),
            (Kind::RouteUnsupported, Unimplemented),
            (Kind::BodyTooLarge, ResourceExhausted),
            (Kind::RateTokens, ResourceExhausted),
            (Kind::BudgetExceeded, ResourceExhausted),
            (Kind::NoDeployment, Unavailable),
            (Kind::ShuttingDown, Unavailable),
            (Kind::ClientGone, Cancelled),
            (Kind::RequestTimeout, DeadlineExceeded),
            (Kind::DeadlineExceeded, DeadlineExceeded),
            (Kind::UpstreamTimeout, DeadlineExceeded),
            (Kind::UpstreamConnect, Unavailable),
            (Kind::UpstreamStatus(422), InvalidArgument),
            (Kind::UpstreamStatus(409), Aborted),
            (Kind::UpstreamStatus(529), Unavailable),
            (Kind::UpstreamStatus(500), Internal),
            (Kind::Internal, Internal),
        ] {
            assert_eq!(code(&Failure::new(kind, "")), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_retry_is_asked_for_or_forbidden() {
        let told = |failure: Failure| Status::of(&failure).pushback;
        assert_eq!(told(Failure::new(Kind::NoDeployment, "").retry_after(1500)), Some(1500));
        assert_eq!(told(Failure::new(Kind::NoDeployment, "")), None);
        assert_eq!(told(Failure::new(Kind::UpstreamConnect, "")), Some(-1));
        assert_eq!(told(Failure::new(Kind::BudgetExceeded, "")), Some(-1));
        assert_eq!(told(Failure::new(Kind::UpstreamStatus(429), "")), None);
        assert_eq!(told(Failure::new(Kind::BadRequest, "")), None);
    }

    #[test]
    fn what_is_recommended_can_be_done_here() {
        let of = |failure: &Failure| Status::of(failure).message;
        let unknown = crate::phases::unknown_model("nope");
        assert_eq!(
            of(&unknown),
            "The model `nope` does not exist here. `penstock.v1.Models/List` lists those your key may use."
        );
        let theirs = Failure::new(Kind::UpstreamStatus(404), "`GET /v1/models` lists them.");
        assert_eq!(of(&theirs), "`GET /v1/models` lists them.");
    }

    #[test]
    fn reasons_are_names() {
        for (code, name) in
            [("rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"), ("42", "UPSTREAM_42"), ("_a.b-c!", "A_B_C")]
        {
            assert_eq!(reason(code), name);
        }
        assert_eq!(reason("é"), "UPSTREAM");
        assert!(reason(&"x".repeat(99)).len() <= 63);
    }

    #[test]
    fn messages_are_ascii_and_bounded() {
        let told = lines(&Failure::new(Kind::BadRequest, "50 % of Ärger\n"));
        assert_eq!(told[0], ("grpc-status".to_owned(), "3".to_owned()));
        assert_eq!(told[1].1, "50 %25 of %C3%84rger%0A");
        let mut large =
            Failure::new(Kind::UpstreamStatus(429), "流".repeat(5000)).retry_after(u64::MAX).param("数".repeat(5000));
        (large.code, large.type_name) = (Some("é".repeat(5000).into()), Some("é".repeat(5000).into()));
        let long = lines(&large);
        assert_eq!(long[1].1, "%E6%B5%81".repeat(170));
        assert!(long.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() < 6600);
    }
}
