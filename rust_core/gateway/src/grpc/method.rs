//! What there is to call.

use super::dialect::Dialect;
use super::penstock::Translator;
use super::schema;
use super::xai;
use crate::surfaces::Surface;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A call, through the phases.
    Call(Call),
    /// Many calls.
    Session,
    /// The gateway answers by itself.
    Local(Local),
    /// The gateway shows its protocol files.
    Reflection,
    /// Something that is not done here; the sentence says so.
    Refused(&'static str),
}

/// A method that is a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the methods are")]
pub(crate) enum Call {
    ChatCreate,
    ChatStream,
    CompletionsCreate,
    CompletionsStream,
    EmbeddingsCreate,
    ResponsesCreate,
    ResponsesStream,
    Xai(xai::Method),
}

/// A method that needs no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the methods are")]
pub(crate) enum Local {
    ModelsList,
    ModelsGet,
    TokensCount,
    GatewayInfo,
    HealthCheck,
    HealthList,
    HealthWatch,
    Xai(xai::Local),
}

/// The services of this port, but for reflection, which can be switched off.
pub(crate) const SERVICES: [&str; 14] = [
    "penstock.v1.Chat",
    "penstock.v1.Completions",
    "penstock.v1.Embeddings",
    "penstock.v1.Gateway",
    "penstock.v1.Models",
    "penstock.v1.Responses",
    "penstock.v1.Tokens",
    "xai_api.Auth",
    "xai_api.Chat",
    "xai_api.Embedder",
    "xai_api.Models",
    "xai_api.Sample",
    "xai_api.Tokenize",
    "grpc.health.v1.Health",
];

/// The services of reflection.
pub(crate) const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Every service that is offered.
pub(crate) fn services(reflection: bool) -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().chain(REFLECTION.into_iter().filter(move |_| reflection))
}

/// The method that carries many calls.
pub(crate) const SESSION: &str = "/penstock.v1.Chat/Session";

/// Looks a path up, as `/penstock.v1.Chat/Create`.
pub(crate) fn find(path: &str) -> Option<Work> {
    let Some(method) = path.strip_prefix("/penstock.v1.") else { return others(path) };
    Some(match method {
        "Chat/Create" => Work::Call(Call::ChatCreate),
        "Chat/Stream" => Work::Call(Call::ChatStream),
        "Chat/Session" => Work::Session,
        "Completions/Create" => Work::Call(Call::CompletionsCreate),
        "Completions/Stream" => Work::Call(Call::CompletionsStream),
        "Embeddings/Create" => Work::Call(Call::EmbeddingsCreate),
        "Responses/Create" => Work::Call(Call::ResponsesCreate),
        "Responses/Stream" => Work::Call(Call::ResponsesStream),
        "Models/List" => Work::Local(Local::ModelsList),
        "Models/Get" => Work::Local(Local::ModelsGet),
        "Tokens/Count" => Work::Local(Local::TokensCount),
        "Gateway/Info" => Work::Local(Local::GatewayInfo),
        _ => return None,
    })
}

fn others(path: &str) -> Option<Work> {
    match path {
        "/grpc.health.v1.Health/Check" => Some(Work::Local(Local::HealthCheck)),
        "/grpc.health.v1.Health/List" => Some(Work::Local(Local::HealthList)),
        "/grpc.health.v1.Health/Watch" => Some(Work::Local(Local::HealthWatch)),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Some(Work::Reflection),
        _ => Some(match xai::find(path)? {
            xai::Rpc::Call(method) => Work::Call(Call::Xai(method)),
            xai::Rpc::Local(local) => Work::Local(Local::Xai(local)),
            xai::Rpc::Refused(why) => Work::Refused(why),
        }),
    }
}

impl Local {
    /// Whether it is answered without a key.
    pub(crate) fn is_keyless(self) -> bool {
        matches!(self, Self::HealthCheck | Self::HealthList | Self::HealthWatch)
    }
}

impl Work {
    /// Whether both sides speak as they like, which gRPC-Web cannot carry.
    pub(crate) fn is_bidirectional(self) -> bool {
        matches!(self, Self::Session | Self::Reflection)
    }
}

impl Call {
    /// The kind of call.
    pub(crate) fn surface(self) -> Surface {
        match self {
            Self::ChatCreate | Self::ChatStream => Surface::Chat,
            Self::CompletionsCreate | Self::CompletionsStream => Surface::Completions,
            Self::EmbeddingsCreate => Surface::Embeddings,
            Self::ResponsesCreate | Self::ResponsesStream => Surface::Passthrough,
            Self::Xai(method) => method.surface(),
        }
    }

    /// The path of the REST route, which is its template as well.
    pub(crate) fn route(self) -> &'static str {
        match self {
            Self::ChatCreate | Self::ChatStream => "/v1/chat/completions",
            Self::CompletionsCreate | Self::CompletionsStream => "/v1/completions",
            Self::EmbeddingsCreate => "/v1/embeddings",
            Self::ResponsesCreate | Self::ResponsesStream => "/v1/responses",
            Self::Xai(method) => method.template(),
        }
    }

    /// The path of the method.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::ChatCreate => "/penstock.v1.Chat/Create",
            Self::ChatStream => "/penstock.v1.Chat/Stream",
            Self::CompletionsCreate => "/penstock.v1.Completions/Create",
            Self::CompletionsStream => "/penstock.v1.Completions/Stream",
            Self::EmbeddingsCreate => "/penstock.v1.Embeddings/Create",
            Self::ResponsesCreate => "/penstock.v1.Responses/Create",
            Self::ResponsesStream => "/penstock.v1.Responses/Stream",
            Self::Xai(method) => method.path(),
        }
    }

    /// Whether it answers with a stream of messages.
    pub(crate) fn streams(self) -> bool {
        match self {
            Self::ChatStream | Self::CompletionsStream | Self::ResponsesStream => true,
            Self::Xai(method) => method.streams(),
            _ => false,
        }
    }

    /// A translator for one call.
    pub(crate) fn dialect(self) -> Dialect {
        let translator = match self {
            Self::ChatCreate => {
                Translator::typed(schema::CHAT_CREATE_REQUEST, schema::CHAT_CREATE_RESPONSE, Some(false))
            }
            Self::ChatStream => {
                Translator::typed(schema::CHAT_CREATE_REQUEST, schema::CHAT_STREAM_RESPONSE, Some(true))
            }
            Self::CompletionsCreate => {
                Translator::typed(schema::COMPLETIONS_CREATE_REQUEST, schema::COMPLETIONS_CREATE_RESPONSE, Some(false))
            }
            Self::CompletionsStream => {
                Translator::typed(schema::COMPLETIONS_CREATE_REQUEST, schema::COMPLETIONS_STREAM_RESPONSE, Some(true))
            }
            Self::EmbeddingsCreate => {
                Translator::typed(schema::EMBEDDINGS_CREATE_REQUEST, schema::EMBEDDINGS_CREATE_RESPONSE, None)
            }
            Self::ResponsesCreate => Translator::text(false),
            Self::ResponsesStream => Translator::text(true),
            Self::Xai(method) => return Dialect::Xai(Box::new(xai::Translator::new(method))),
        };
        Dialect::Penstock(translator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_path() {
        let own = [
            Call::ChatCreate,
            Call::ChatStream,
            Call::CompletionsCreate,
            Call::CompletionsStream,
            Call::EmbeddingsCreate,
            Call::ResponsesCreate,
            Call::ResponsesStream,
        ];
        for call in own.into_iter().chain(xai::Method::ALL.map(Call::Xai)) {
            assert_eq!(find(call.path()), Some(Work::Call(call)), "{}", call.path());
        }
        assert_eq!(find(SESSION), Some(Work::Session));
    }
}
