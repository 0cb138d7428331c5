//! `GET /v1/models` and `/v1/models/{id}`: what this key may call.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::auth::record::Key;
use crate::snapshot::{Group, Snapshot};

/// The list, in OpenAI's shape (an Anthropic SDK reads `data[].id` of the same document).
#[must_use]
pub fn list(snapshot: &Snapshot, key: Option<&Key>) -> Bytes {
    let mut data: Vec<Value> = Vec::new();
    let may = |g: &Group| key.is_none_or(|k| k.may_use(&g.name, &g.access_groups));
    for group in snapshot.groups.iter().filter(|g| !g.hidden && may(g)) {
        data.push(entry(&group.name, group));
    }
    for (alias, group) in snapshot.listed_aliases().filter(|(_, g)| may(g)) {
        data.push(entry(alias, group));
    }
    let first = data.first().and_then(|d| d.get("id")).cloned();
    let last = data.last().and_then(|d| d.get("id")).cloned();
    Bytes::from(
        json!({"object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last}).to_string(),
    )
}

/// One model; `None` when it does not exist or is not this key's to use.
#[must_use]
pub fn get(snapshot: &Snapshot, key: Option<&Key>, id: &str) -> Option<Bytes> {
    let found = snapshot.find(id)?;
    let may = key.is_none_or(|k| {
        k.may_use(id, &found.group.access_groups) || k.may_use(&found.group.name, &found.group.access_groups)
    });
    may.then(|| Bytes::from(entry(id, &found.group).to_string()))
}

fn entry(id: &str, group: &Group) -> Value {
    json!({
        "id": id,
        "object": "model",
        "created": group.created,
        "owned_by": group.owned_by,
        "type": "model",
        "display_name": id,
    })
}
