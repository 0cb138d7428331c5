//! gRPC and gRPC-Web on the public port.
//!
//! A call is a REST call in other clothes: it enters the phases with the request line of its REST route, its message
//! becomes the JSON that a REST client would have sent, and the REST answer becomes messages and a status. Phases know
//! nothing of it.
//!
//! ```text
//!  stream   frames, metadata, trailers, deadline      exchange   what phases talk to
//!  dialect  messages <-> JSON, by `schema`'s tables   session    many calls on one stream
//!  method   what there is to call                     local      what the gateway answers by itself
//! ```

mod base64;
mod dialect;
mod event;
mod exchange;
mod frame;
mod from_json;
mod health;
mod local;
mod method;
mod penstock;
mod reflection;
mod schema;
mod session;
mod status;
mod stream;
mod to_json;
mod twin;
mod web;
mod wire;
mod xai;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use penstock_http1::{Framing, Headers, RequestHead, Version};

pub(crate) use exchange::GrpcExchange;
pub(crate) use web::preflight;

use crate::engine::{Core, LocalStage};
use crate::errors::{Failure, Kind, told};
use crate::listener::Peer;
use crate::listener::exchange::{Exchange, HeaderLines, Transport};
use crate::phases;
use exchange::Sink;
use method::Work;
use status::{Code, Status};
use stream::Stream;

/// What a content type says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// gRPC proper.
    Native,
    /// For browsers.
    Web,
    /// For browsers, in base64.
    WebText,
    /// gRPC with messages in a format that is not spoken here.
    Unknown,
}

impl Flavour {
    /// `None`: no gRPC.
    pub(crate) fn of(content_type: &[u8]) -> Option<Self> {
        let rest = content_type.strip_prefix(b"application/grpc")?;
        let rest = rest.split(|b| *b == b';').next().unwrap_or_default();
        match rest.trim_ascii() {
            b"" | b"+proto" => Some(Self::Native),
            b"-web" | b"-web+proto" => Some(Self::Web),
            b"-web-text" | b"-web-text+proto" => Some(Self::WebText),
            [b'+' | b'-', ..] => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Unknown,
}

/// What the head of a request says to gRPC itself.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) flavour: Flavour,
    pub(crate) path: Bytes,
    pub(crate) is_post: bool,
    pub(crate) encoding: Encoding,
    pub(crate) takes_gzip: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) timeout_is_wrong: bool,
    pub(crate) origin: Option<Bytes>,
}

impl Opening {
    /// `field` gives the value of a header field.
    pub(crate) fn new<'a>(
        flavour: Flavour,
        is_post: bool,
        path: Bytes,
        field: impl Fn(&'static str) -> Option<&'a [u8]>,
    ) -> Self {
        let timeout = field("grpc-timeout").map(timeout);
        Self {
            flavour,
            path,
            is_post,
            encoding: match field("grpc-encoding") {
                None | Some(b"identity") => Encoding::Identity,
                Some(b"gzip") => Encoding::Gzip,
                Some(_) => Encoding::Unknown,
            },
            takes_gzip: field("grpc-accept-encoding")
                .is_some_and(|list| list.split(|b| *b == b',').any(|name| name.trim_ascii() == b"gzip")),
            timeout: timeout.flatten(),
            timeout_is_wrong: timeout == Some(None),
            origin: field("origin").map(Bytes::copy_from_slice),
        }
    }
}

/// A `grpc-timeout`: up to eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0_u64, |n, d| n * 10 + u64::from(d - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Whether a request's header field is for gRPC alone, so that nobody behind it is to see it.
pub(crate) fn is_own_field(name: &[u8]) -> bool {
    matches!(name, b"te" | b"content-type" | b"content-length") || name.starts_with(b"grpc-") || name.ends_with(b"-bin")
}

/// Whether something is called by this path.
pub(crate) fn is_method(path: &str) -> bool {
    method::find(path).is_some()
}

/// Where a call comes from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The thread.
    pub(crate) core: &'a Rc<Core>,
    /// How far its connection is on its way out.
    pub(crate) stage: &'a LocalStage,
    /// The client.
    pub(crate) peer: Peer,
}

/// Serves one call, whichever HTTP it came over. `headers` are those that the REST request would have. Gives the transport
/// back, unless the call used it up.
pub(crate) async fn serve<'a>(
    origin: Origin<'a>,
    opening: &Opening,
    headers: Headers,
    transport: Transport<'a>,
) -> Option<Transport<'a>> {
    let core = origin.core;
    let mut stream = Stream::new(core, transport, opening);
    let work = match vetted(opening, core.shared.options.grpc.reflection) {
        Ok(work) => work,
        Err(refused) => {
            refused.send(&mut stream).await;
            return Some(stream.into_transport());
        }
    };
    match work {
        Work::Call(call) => {
            let route = call.route();
            let mut exchange = Exchange::Grpc(Box::new(GrpcExchange::new(Sink::Stream(stream), call)));
            phases::serve(core, call.surface(), route, head(route, headers), &mut exchange, origin.peer).await;
            let Exchange::Grpc(mut x) = exchange else { return None };
            x.conclude().await;
            match x.into_sink() {
                Sink::Stream(stream) => Some(stream.into_transport()),
                Sink::Lane(_) => None,
            }
        }
        Work::Session => {
            session::serve(origin, &head("/v1/chat/completions", headers), stream).await;
            None
        }
        Work::Local(local) => {
            let done = local::run(origin, local, opening.flavour, &headers, &mut stream).await;
            local::end(done, &mut stream).await;
            Some(stream.into_transport())
        }
        Work::Reflection => {
            let done = reflection::run(origin, &mut stream).await;
            local::end(done, &mut stream).await;
            Some(stream.into_transport())
        }
        Work::Refused(why) => {
            let status = Status::of(&xai::refusal(why));
            stream.refuse(200, &status, HeaderLines::default()).await;
            Some(stream.into_transport())
        }
    }
}

/// A provider's error answer in its own words; `failure` is what is known without them.
pub(crate) fn refusal(failure: &Failure, body: &[u8]) -> Failure {
    let mut told = told::refusal(failure.status(), body).unwrap_or_else(|| failure.clone());
    told.retry_after_ms = failure.retry_after_ms;
    told
}

/// The head that a REST client would have sent.
fn head(route: &'static str, headers: Headers) -> RequestHead {
    RequestHead {
        method: Bytes::from_static(b"POST"),
        target: Bytes::from_static(route.as_bytes()),
        version: Version::Http2,
        framing: Framing::UntilClose,
        headers,
        keep_alive: true,
        expect_continue: false,
        upgrade: false,
    }
}

/// A request that cannot be a call.
struct Refused {
    http: u16,
    status: Status,
    lines: HeaderLines,
}

impl Refused {
    fn new(code: Code, what: String) -> Self {
        let failure = Failure::new(Kind::RouteUnsupported, what);
        Self { http: 200, status: Status::with(code, &failure), lines: HeaderLines::default() }
    }

    async fn send(self, stream: &mut Stream<'_>) {
        stream.refuse(self.http, &self.status, self.lines).await;
    }
}

/// What is called, unless the head shows that nothing can be.
fn vetted(opening: &Opening, reflection: bool) -> Result<Work, Refused> {
    if opening.flavour == Flavour::Unknown {
        let what = "The content type must be application/grpc, application/grpc-web or application/grpc-web-text, \
            each perhaps with `+proto`.";
        return Err(Refused { http: 415, ..Refused::new(Code::Unimplemented, what.to_owned()) });
    }
    if !opening.is_post {
        let mut refused = Refused::new(Code::Internal, "gRPC calls are POST requests.".to_owned());
        refused.http = 405;
        refused.lines.add("allow", b"POST");
        return Err(refused);
    }
    let path = std::str::from_utf8(&opening.path).unwrap_or_default();
    let found = method::find(path).filter(|work| reflection || *work != Work::Reflection);
    let Some(work) = found else {
        let (service, name) = path.trim_start_matches('/').rsplit_once('/').unwrap_or((path, ""));
        let shown = |text: &str| text.get(..text.floor_char_boundary(128)).unwrap_or_default().to_owned();
        let what = if method::services(reflection).any(|s| s == service) {
            format!("The service `{service}` has no method `{}`.", shown(name))
        } else {
            format!("There is no service `{}` here.", shown(service))
        };
        return Err(Refused::new(Code::Unimplemented, what));
    };
    if opening.flavour != Flavour::Native && work.is_bidirectional() {
        let what = "gRPC-Web cannot carry methods that stream both ways.".to_owned();
        return Err(Refused::new(Code::Unimplemented, what));
    }
    if opening.encoding == Encoding::Unknown {
        let what = "The `grpc-encoding` of the request is not understood here; use `gzip` or none.".to_owned();
        let mut refused = Refused::new(Code::Unimplemented, what);
        refused.lines.add("grpc-accept-encoding", b"identity,gzip");
        return Err(refused);
    }
    if opening.timeout_is_wrong {
        let what = "`grpc-timeout` must be up to eight digits and one of the units H, M, S, m, u and n.";
        let failure = Failure::new(Kind::BadRequest, what).param("grpc-timeout");
        return Err(Refused { http: 200, status: Status::of(&failure), lines: HeaderLines::default() });
    }
    Ok(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        use Flavour::*;
        for (text, flavour) in [
            ("application/grpc", Some(Native)),
            ("application/grpc+proto", Some(Native)),
            ("application/grpc;charset=utf-8", Some(Native)),
            ("application/grpc-web", Some(Web)),
            ("application/grpc-web+proto; x=y", Some(Web)),
            ("application/grpc-web-text", Some(WebText)),
            ("application/grpc+json", Some(Unknown)),
            ("application/grpc-webx", Some(Unknown)),
            ("application/grpcx", None),
            ("application/json", None),
        ] {
            assert_eq!(Flavour::of(text.as_bytes()), flavour, "{text}");
        }
    }

    #[test]
    fn timeouts() {
        let ns = |text: &str| timeout(text.as_bytes()).map(|d| d.as_nanos());
        assert_eq!(ns("1H"), Some(3_600_000_000_000));
        assert_eq!(ns("2M"), Some(120_000_000_000));
        assert_eq!(ns("3S"), Some(3_000_000_000));
        assert_eq!(ns("4m"), Some(4_000_000));
        assert_eq!(ns("5u"), Some(5_000));
        assert_eq!(ns("6n"), Some(6));
        assert_eq!(ns("99999999H"), Some(359_999_996_400_000_000_000));
        for wrong in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", " 1S", "+1S"] {
            assert_eq!(ns(wrong), None, "{wrong}");
        }
    }
}
