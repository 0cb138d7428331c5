//! The scopes that a request names itself: its customer (`user`) and its tags.
//!
//! Apart from admission because they are not known with the key: what the table does not have, the control plane is
//! asked for, all of a call at once. Only where the configuration says that there are such scopes.

use std::sync::Arc;
use std::time::Duration;

use penstock_http1::RequestHead;

use super::Call;
use super::admit::{bounded, storable};
use crate::auth::scope::{Rules, Scope};
use crate::auth::scopes::Named;
use crate::errors::{Failure, Kind, Outcome};
use crate::scan;

/// More tags are refused rather than overlooked: each may have a budget.
const MOST_TAGS: usize = 32;
/// Longest tag, in bytes.
const LONGEST_TAG: usize = 256;

/// Finds the scopes that the request names, and whether they let it pass.
pub(super) async fn find(call: &mut Call, json: Option<&scan::Body<'_>>, head: &RequestHead) -> Outcome<()> {
    let (customers, request_tags) = (call.snapshot.settings.customers, call.snapshot.settings.request_tags);
    if request_tags {
        call.tags = tags(json, head)?;
    }
    let customer = call.end_user.as_ref().filter(|user| customers && !user.is_empty());
    let names = customer.map(|user| format!("customer:{user}")).into_iter();
    let names: Vec<String> = names.chain(call.tags.iter().map(|tag| format!("tag:{tag}"))).collect();
    if names.is_empty() {
        return Ok(());
    }
    call.named = scopes(call, &names).await?;
    for scope in &call.named {
        let rules = scope.rules();
        if rules.record.blocked && rules.record.only_model.is_none() {
            return Err(blocked(&rules));
        }
    }
    Ok(())
}

/// Somebody above the caller is switched off.
pub(super) fn blocked(rules: &Rules) -> Failure {
    Failure::new(Kind::KeyBlocked, format!("{} is blocked. Ask an administrator to unblock it.", rules.level()))
}

/// Those of the names that mean a scope, and the scopes for one model below them.
async fn scopes(call: &Call, names: &[String]) -> Outcome<Vec<Arc<Scope>>> {
    let shared = &call.core.shared;
    let failed = || {
        Failure::new(Kind::HookFailed, "The request's customer or tags could not be checked; try again in a moment.")
            .retry_after(1000)
    };
    let (mut found, mut asked) = (Vec::new(), Vec::new());
    for name in names {
        match shared.keys.scopes.lookup(name, call.now.mono_ns) {
            Named::Known(scope) => found.push(scope),
            Named::Unknown => {}
            Named::Miss => asked.push(shared.scope_hooks.ask(name.as_str().into()).ok_or_else(failed)?),
        }
    }
    let deadline = Duration::from_millis(shared.options.hook_timeout_ms);
    for answer in asked {
        match call.core.timers.within(deadline, answer).await {
            Ok(Ok(scope)) => found.extend(scope),
            _ => return Err(failed()),
        }
    }
    for named in 0..found.len() {
        let below = found.get(named).map(|scope: &Arc<Scope>| scope.rules().below.clone()).unwrap_or_default();
        found.extend(below);
    }
    Ok(found)
}

/// Tags of the header `x-litellm-tags`, separated by commas, and of the body's `metadata.tags`; each once.
fn tags(json: Option<&scan::Body<'_>>, head: &RequestHead) -> Outcome<Vec<String>> {
    let listed = head.headers.get_str("x-litellm-tags").unwrap_or_default().split(',');
    let metadata = json.and_then(|json| json.value(json.metadata?).get("tags"));
    let mut tags: Vec<String> = Vec::new();
    let said = metadata.iter().flat_map(|tags| tags.items()).filter_map(scan::Value::as_str);
    for tag in listed.map(|tag| tag.trim().into()).chain(said).map(storable) {
        if tag.is_empty() || tags.iter().any(|known| **known == *tag) {
            continue;
        }
        if tags.len() == MOST_TAGS || tag.len() > LONGEST_TAG {
            let message = format!(
                "A request may have {MOST_TAGS} tags of {LONGEST_TAG} bytes; `{}` is one too many or too long.",
                bounded(&tag)
            );
            return Err(Failure::new(Kind::BadRequest, message).param("metadata.tags"));
        }
        tags.push(tag.into_owned());
    }
    Ok(tags)
}
