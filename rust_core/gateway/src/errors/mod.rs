//! The one error type of the data plane, and the one table that turns it into an answer.
//!
//! Every layer says *what* went wrong with a [`Kind`]; status, `type`, `code` and retryability
//! follow from the table here, so that REST surfaces and gRPC cannot disagree.

mod render;
pub(crate) mod told;

use std::borrow::Cow;

pub use render::{anthropic_body, body, openai_body, stream_event};

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The request is wrong.
    Client,
    /// The gateway refused or failed.
    Gateway,
    /// The provider refused or failed.
    Upstream,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No credentials were sent.
    KeyMissing,
    /// The key does not have the shape of a key.
    KeyMalformed,
    /// Nobody was given this key.
    KeyUnknown,
    /// The key's time is over.
    KeyExpired,
    /// An administrator blocked the key.
    KeyBlocked,
    /// The key may not be used from this address.
    AddressDenied,
    /// The key may not use this route.
    RouteDenied,
    /// The key may not use this model.
    ModelDenied,
    /// The request is malformed.
    BadRequest,
    /// No such model group.
    ModelUnknown,
    /// A parameter cannot be expressed on the provider's wire.
    ParameterUnsupported,
    /// The route is not offered by the deployment's provider.
    RouteUnsupported,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The first request with this idempotency key is still running.
    IdempotencyRunning,
    /// The idempotency key was used for another request.
    IdempotencyMismatch,
    /// The answer under this idempotency key was not kept.
    IdempotencyTooLarge,
    /// Whether another gateway runs the request cannot be said.
    IdempotencyUnknown,
    /// The client was too slow to send its request.
    RequestTimeout,
    /// The client left before its request was complete.
    ClientGone,
    /// The time that the client gave the call was over before its answer was.
    DeadlineExceeded,
    /// Too many requests per minute.
    RateRequests,
    /// Too many tokens per minute.
    RateTokens,
    /// Too many calls in flight.
    RateParallel,
    /// The budget is used up.
    BudgetExceeded,
    /// Every deployment of the group is cooling down or at its limit.
    NoDeployment,
    /// The control plane did not answer a hook in time.
    HookFailed,
    /// The usage queue is full; a call would go unaccounted.
    Overloaded,
    /// The gateway is shutting down.
    ShuttingDown,
    /// The provider answered with an error status, passed on.
    UpstreamStatus(u16),
    /// The provider could not be reached.
    UpstreamConnect,
    /// The provider did not answer in time.
    UpstreamTimeout,
    /// The provider's answer broke off or is not what its wire promises.
    UpstreamProtocol,
    /// A defect of ours.
    Internal,
}

/// One row of the table.
struct Row {
    status: u16,
    kind: &'static str,
    code: &'static str,
    source: Source,
}

const fn row(status: u16, kind: &'static str, code: &'static str, source: Source) -> Row {
    Row { status, kind, code, source }
}

impl Kind {
    fn row(self) -> Row {
        use Source::{Client, Gateway, Upstream};
        match self {
            Self::KeyMissing => row(401, "auth_error", "missing_api_key", Client),
            Self::KeyMalformed => row(401, "auth_error", "malformed_api_key", Client),
            Self::KeyUnknown => row(401, "auth_error", "invalid_api_key", Client),
            Self::KeyExpired => row(401, "expired_key", "expired_api_key", Client),
            Self::KeyBlocked => row(403, "auth_error", "blocked_api_key", Client),
            Self::AddressDenied => row(403, "auth_error", "address_not_allowed", Client),
            Self::RouteDenied => row(403, "auth_error", "route_not_allowed", Client),
            Self::ModelDenied => row(403, "key_model_access_denied", "model_not_allowed", Client),
            Self::BadRequest => row(400, "invalid_request_error", "invalid_request", Client),
            Self::ModelUnknown => row(404, "invalid_request_error", "model_not_found", Client),
            Self::ParameterUnsupported => row(400, "invalid_request_error", "unsupported_parameter", Client),
            Self::RouteUnsupported => row(400, "invalid_request_error", "unsupported_route", Client),
            Self::BodyTooLarge => row(413, "invalid_request_error", "request_too_large", Client),
            Self::IdempotencyRunning => row(409, "idempotency_error", "idempotency_key_in_use", Client),
            Self::IdempotencyMismatch => row(422, "idempotency_error", "idempotency_key_reused", Client),
            Self::IdempotencyTooLarge => row(409, "idempotency_error", "idempotency_answer_not_kept", Client),
            Self::IdempotencyUnknown => row(503, "idempotency_error", "idempotency_unavailable", Gateway),
            Self::RequestTimeout => row(408, "invalid_request_error", "request_timeout", Client),
            Self::ClientGone => row(499, "invalid_request_error", "client_disconnect", Client),
            Self::DeadlineExceeded => row(504, "timeout_error", "deadline_exceeded", Client),
            Self::RateRequests => row(429, "requests", "rate_limit_exceeded", Gateway),
            Self::RateTokens => row(429, "tokens", "rate_limit_exceeded", Gateway),
            Self::RateParallel => row(429, "max_parallel_requests", "rate_limit_exceeded", Gateway),
            Self::BudgetExceeded => row(422, "budget_exceeded", "budget_exceeded", Gateway),
            Self::NoDeployment => row(429, "all_deployments_in_cooldown", "no_deployment_available", Gateway),
            Self::HookFailed => row(503, "internal_server_error", "control_plane_unavailable", Gateway),
            Self::Overloaded => row(503, "internal_server_error", "overloaded", Gateway),
            Self::ShuttingDown => row(503, "internal_server_error", "shutting_down", Gateway),
            Self::UpstreamStatus(status) => row(status, upstream_type(status), "upstream_error", Upstream),
            Self::UpstreamConnect => row(502, "api_connection_error", "upstream_unreachable", Upstream),
            Self::UpstreamTimeout => row(504, "timeout_error", "upstream_timeout", Upstream),
            Self::UpstreamProtocol => row(502, "api_error", "upstream_protocol_error", Upstream),
            Self::Internal => row(500, "internal_server_error", "internal_error", Gateway),
        }
    }
}

/// The `type` for a provider's status when its own body names none.
fn upstream_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "throttling_error",
        500.. => "internal_server_error",
        _ => "invalid_request_error",
    }
}

/// An answer that is not the one hoped for.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// For people; names the field and the fix. Never a secret or a prompt.
    pub message: Cow<'static, str>,
    /// The request field at fault.
    pub param: Option<Cow<'static, str>>,
    /// Milliseconds after which trying again makes sense.
    pub retry_after_ms: Option<u64>,
    /// Overrides the table's status (budget status is configurable).
    pub status: Option<u16>,
    /// Overrides the table's `type` (an upstream's own).
    pub type_name: Option<Box<str>>,
    /// Overrides the table's `code` (an upstream's own).
    pub code: Option<Box<str>>,
    /// Whose limit refused, such as `team:t1`; `None`: the key's own, or it is no matter of limits.
    pub subject: Option<Box<str>>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            retry_after_ms: None,
            status: None,
            type_name: None,
            code: None,
            subject: None,
        }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.unwrap_or_else(|| self.kind.row().status)
    }

    /// Stable machine-readable code.
    #[must_use]
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_else(|| self.kind.row().code)
    }

    /// OpenAI's `type`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.type_name.as_deref().unwrap_or_else(|| self.kind.row().kind)
    }

    /// Who is to blame.
    #[must_use]
    pub fn source(&self) -> Source {
        self.kind.row().source
    }

    /// Whether another deployment may do better; only ever used before the first byte of an answer.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self.kind {
            Kind::UpstreamConnect | Kind::UpstreamTimeout | Kind::UpstreamProtocol => true,
            Kind::UpstreamStatus(s) => matches!(s, 401 | 403 | 404 | 408 | 409 | 429 | 500..),
            _ => false,
        }
    }
}

/// Shorthand used by all phases.
pub type Outcome<T> = Result<T, Failure>;
