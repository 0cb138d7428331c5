//! `GET /v1/models` and `/v1/models/{id}`: what this key may call.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::auth::record::Key;
use crate::snapshot::{Group, Snapshot};

/// The names that this key may call, in the order of the configuration.
pub fn listed<'a>(snapshot: &'a Snapshot, key: Option<&'a Key>) -> impl Iterator<Item = (&'a str, &'a Group)> {
    let may = move |g: &Group| key.is_none_or(|k| k.may_use(&[&g.name], &g.access_groups));
    let groups = snapshot.groups.iter().filter(move |g| !g.hidden && may(g)).map(|g| (&*g.name, &**g));
    let aliases = snapshot.listed_aliases().filter(move |(_, g)| may(g)).map(|(alias, g)| (alias, &**g));
    groups.chain(aliases)
}

/// The group of a name; `None` when it does not exist or is not this key's to use.
#[must_use]
pub fn find(snapshot: &Snapshot, key: Option<&Key>, id: &str) -> Option<Arc<Group>> {
    let group = snapshot.find(id)?.group;
    let may = |k: &Key| k.may_use(&[id, &group.name], &group.access_groups);
    key.is_none_or(may).then_some(group)
}

/// The list, in OpenAI's shape (an Anthropic SDK reads `data[].id` of the same document).
#[must_use]
pub fn list(snapshot: &Snapshot, key: Option<&Key>) -> Bytes {
    let data: Vec<Value> = listed(snapshot, key).map(|(id, group)| entry(id, group)).collect();
    let first = data.first().and_then(|d| d.get("id")).cloned();
    let last = data.last().and_then(|d| d.get("id")).cloned();
    Bytes::from(
        json!({"object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last}).to_string(),
    )
}

/// One model; `None` when it does not exist or is not this key's to use.
#[must_use]
pub fn get(snapshot: &Snapshot, key: Option<&Key>, id: &str) -> Option<Bytes> {
    find(snapshot, key, id).map(|group| Bytes::from(entry(id, &group).to_string()))
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
