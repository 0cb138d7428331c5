//! From a call to Anthropic's wire: the same bytes for its own API, a translation for chat.

use bytes::Bytes;

use super::{ParamError, RequestOptions, request};
use crate::canonical::ChatRequest;
use crate::errors::{Failure, Kind, Outcome};
use crate::providers::{Asked, Prepared, Reading, spliced, unsupported, with_query};
use crate::snapshot::Deployment;
use crate::surfaces::Surface;

/// The upstream request.
///
/// # Errors
/// The route is not Anthropic's, or a parameter cannot be expressed.
pub fn prepare(deployment: &Deployment, asked: &Asked<'_>) -> Outcome<Prepared> {
    let path = |tail: &str| format!("{}/v1/{tail}", deployment.base_path);
    let tail = match asked.surface {
        Surface::Chat => return translated(deployment, asked, path("messages")),
        Surface::Messages => "messages",
        Surface::CountTokens => "messages/count_tokens",
        Surface::Completions => return Err(unsupported(deployment, "The completions API")),
        Surface::Embeddings => return Err(unsupported(deployment, "The embeddings API")),
        Surface::Passthrough => return Err(unsupported(deployment, "This route of the OpenAI API")),
    };
    Ok(Prepared {
        target: with_query(path(tail), deployment, asked.target),
        body: spliced(deployment, asked, false),
        headers: Vec::new(),
        reading: Reading::Anthropic,
        hide_usage: false,
    })
}

fn translated(deployment: &Deployment, asked: &Asked<'_>, path: String) -> Outcome<Prepared> {
    // Defaults, overrides and drops of the deployment speak OpenAI's dialect: they come first.
    let body = spliced(deployment, asked, false).whole();
    let chat = ChatRequest::from_json(&body).map_err(|e| {
        Failure::new(Kind::BadRequest, format!("The chat request cannot be read: {e}")).param("request_body")
    })?;
    let options = RequestOptions {
        model: asked.model,
        default_max_tokens: deployment.max_output_tokens.unwrap_or(asked.default_output_tokens).max(1),
        drop_params: deployment.drop_params,
        allowed_params: &deployment.allowed_params,
    };
    let translated = request(&chat, &options)
        .map_err(|ParamError { param, message }| Failure::new(Kind::ParameterUnsupported, message).param(param))?;
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if !translated.betas.is_empty() {
        headers.push(("anthropic-beta", translated.betas.join(",")));
    }
    Ok(Prepared {
        target: with_query(path, deployment, ""),
        body: Bytes::from(translated.body).into(),
        headers,
        reading: Reading::AnthropicToChat,
        hide_usage: false,
    })
}
