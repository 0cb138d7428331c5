//! What upstreams speak. A provider knows nothing of surfaces beyond their kind: same-wire calls
//! travel as bytes with the model spliced in, others through [`crate::canonical`].

pub mod anthropic;
mod body;
pub mod openai;

use bytes::Bytes;

pub use body::Body;

use crate::errors::{Failure, Kind, Outcome};
use crate::scan;
use crate::snapshot::{Deployment, Wire};
use crate::surfaces::Surface;

/// Bytes that are worth a piece of their own rather than a copy.
const LARGE: usize = 32 * 1024;

/// How the answer must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// OpenAI's wire, passed on as it is.
    OpenAi,
    /// Anthropic's wire, passed on as it is.
    Anthropic,
    /// Anthropic's wire, translated to OpenAI's chat.
    AnthropicToChat,
}

/// A request ready for an upstream, but for the connection.
#[derive(Debug)]
pub struct Prepared {
    /// Path and query.
    pub target: String,
    /// Body.
    pub body: Body,
    /// Header lines to add.
    pub headers: Vec<(&'static str, String)>,
    /// How to read the answer.
    pub reading: Reading,
    /// The usage chunk was asked for on the gateway's own account and must not reach the client.
    pub hide_usage: bool,
}

/// What a provider needs to know of a call.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Kind of call.
    pub surface: Surface,
    /// Path and query as the client sent them.
    pub target: &'a str,
    /// Body as the client sent it.
    pub body: &'a Bytes,
    /// The same, scanned.
    pub json: Option<&'a scan::Body<'a>>,
    /// Where a multipart body names the model.
    pub part: Option<&'a std::ops::Range<usize>>,
    /// The upstream's name of the model.
    pub model: &'a str,
    /// The client wants a stream.
    pub stream: bool,
    /// The client asked for usage in the stream.
    pub wants_usage: bool,
    /// Show usage to clients that did not ask.
    pub always_usage: bool,
    /// Reserved for the output when nothing bounds it.
    pub default_output_tokens: u64,
}

/// Makes the upstream request for a deployment.
///
/// # Errors
/// The deployment's provider does not offer the route, or cannot express a parameter.
pub fn prepare(deployment: &Deployment, asked: &Asked<'_>) -> Outcome<Prepared> {
    match deployment.wire {
        Wire::OpenAi | Wire::Azure => openai::prepare(deployment, asked),
        Wire::Anthropic => anthropic::prepare(deployment, asked),
    }
}

/// The body with the model's name replaced and the deployment's parameters applied; the client's
/// own bytes when nothing changes.
fn spliced(deployment: &Deployment, asked: &Asked<'_>, usage: bool) -> Body {
    let Some(json) = asked.json else {
        return asked.part.map_or_else(
            || asked.body.clone().into(),
            |place| {
                let (before, after) = (asked.body.get(..place.start), asked.body.get(place.end..));
                Bytes::from([before.unwrap_or_default(), asked.model.as_bytes(), after.unwrap_or_default()].concat())
                    .into()
            },
        );
    };
    let mut edit = json.edit();
    if json.model_str().as_deref().is_some_and(|m| m != asked.model)
        && let Some(span) = json.model
    {
        edit.splice(span, serde_json::to_vec(asked.model).unwrap_or_default());
    }
    if let (Some(span), Some(rest)) = (json.metadata, without_tags(json)) {
        if rest == b"{}" {
            edit.remove("metadata")
        } else {
            edit.splice(span, rest)
        };
    }
    for name in &deployment.drop {
        edit.remove(name);
    }
    for (name, value) in &deployment.defaults {
        edit.set_default_raw(name, value.get().as_bytes());
    }
    for (name, value) in &deployment.overrides {
        edit.set_raw(name, value.get().as_bytes());
    }
    if usage {
        edit.include_usage();
    }
    if edit.is_empty() {
        return asked.body.clone().into();
    }
    if asked.body.len() < LARGE { Bytes::from(edit.apply()).into() } else { Body::of(edit.pieces(asked.body, LARGE)) }
}

/// The request's `metadata` without its list of tags, which is for the gateway: providers take no lists there. `None`:
/// there is none.
fn without_tags(json: &scan::Body<'_>) -> Option<Vec<u8>> {
    let metadata = json.value(json.metadata?);
    metadata.get("tags").filter(|tags| tags.is_array())?;
    let mut rest = vec![b'{'];
    for (name, value) in metadata.members().filter(|(name, _)| **name != *b"tags") {
        if rest.len() > 1 {
            rest.push(b',');
        }
        rest.extend(serde_json::to_vec(&String::from_utf8_lossy(&name)).unwrap_or_default());
        rest.push(b':');
        rest.extend_from_slice(value.text());
    }
    rest.push(b'}');
    Some(rest)
}

/// Joins the deployment's query and the client's; the client's `model` was for us.
fn with_query(mut path: String, deployment: &Deployment, target: &str) -> String {
    let query = target.split_once('?').map_or("", |(_, q)| q);
    let theirs = query.split('&').filter(|p| !p.is_empty() && !p.starts_with("model=") && !p.starts_with("key="));
    let mut sign = '?';
    for part in deployment.query.split('&').filter(|p| !p.is_empty()).chain(theirs) {
        path.push(sign);
        path.push_str(part);
        sign = '&';
    }
    path
}

fn unsupported(deployment: &Deployment, what: &str) -> Failure {
    let message = format!(
        "{what} is not offered by the deployment `{}` (provider `{}`). Use a model whose provider offers it.",
        deployment.id, deployment.provider
    );
    Failure::new(Kind::RouteUnsupported, message).param("model")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(metadata: &str) -> Option<String> {
        let body = format!("{{\"model\":\"m\",\"metadata\":{metadata}}}");
        let json = scan::object(body.as_bytes()).unwrap();
        without_tags(&json).map(|rest| String::from_utf8(rest).unwrap())
    }

    #[test]
    fn a_list_of_tags_goes_and_the_rest_of_the_metadata_stays() {
        assert_eq!(rest(r#"{"tags":["a","b"]}"#).unwrap(), "{}");
        let mixed = rest(r#"{"tags":[],"a\"b":"tags","model": 5 ,"\u0074ags":[1]}"#);
        assert_eq!(mixed.unwrap(), r#"{"a\"b":"tags","model":5}"#);
        for untouched in [r#"{"tags":"a"}"#, r#"{"a":["tags"]}"#, "null", "{}", r#""tags""#, r#"["tags"]"#] {
            assert_eq!(rest(untouched), None, "{untouched}");
        }
    }
}
