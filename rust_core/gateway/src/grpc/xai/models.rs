//! `Models`: what a key may call, with prices. The same groups as `GET /v1/models` lists, told apart by what they do.

use bytes::{Bytes, BytesMut};

use super::put;
use super::read::{Value, each, text};
use crate::auth::record::Key;
use crate::errors::Outcome;
use crate::phases::{find_model, unknown_model};
use crate::pricing::PriceTier;
use crate::snapshot::{Group, Match, Snapshot};
use crate::surfaces::models::listed;

const MODALITY_TEXT: u8 = 1;
const MODALITY_EMBEDDING: u8 = 3;

/// Nano-dollars in the unit of prices here, 1/100 of a US cent; both are per million tokens.
const NANOS_PER_UNIT: u64 = 100_000;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Language,
    Embedding,
    /// None is ever listed: images are not drawn over this API.
    Image,
}

impl Sort {
    /// Whether a group does this, by the mode of its first deployment.
    fn holds(self, group: &Group) -> bool {
        let mode = group.deployments.first().map_or("", |deployment| deployment.mode.as_str());
        match self {
            Self::Language => matches!(mode, "chat" | "completion" | "responses"),
            Self::Embedding => mode == "embedding",
            Self::Image => false,
        }
    }
}

/// `List...ModelsResponse`. A group carries its other names; one that is hidden is listed under those only.
pub(super) fn list(sort: Sort, snapshot: &Snapshot, key: Option<&Key>) -> Bytes {
    let mut out = BytesMut::new();
    let of_sort = || listed(snapshot, key).filter(|(_, group)| sort.holds(group));
    for (name, group) in of_sort() {
        let is_alias = name != &*group.name;
        if is_alias && !group.hidden {
            continue;
        }
        let aliases = of_sort().filter(|(alias, of)| !is_alias && of.name == group.name && *alias != name);
        let aliases: Vec<&str> = aliases.map(|(alias, _)| alias).collect();
        put::message(&mut out, 1, |out| model(out, sort, name, group, "", &aliases));
    }
    out.freeze()
}

/// One model.
///
/// # Errors
/// It does not exist, is not this key's to use, or does something else.
pub(super) fn get(sort: Sort, snapshot: &Snapshot, key: Option<&Key>, message: &[u8]) -> Outcome<Bytes> {
    let mut name = "";
    each(message, |number, value| {
        if let (1, Value::Bytes(bytes)) = (number, value) {
            name = text("name", bytes)?;
        }
        Ok(())
    })?;
    // Whether a model exists is not told to a key that may not use it.
    let known = find_model(snapshot, key, name).ok().filter(|found| sort.holds(&found.group));
    let Match { group, wildcard } = known.ok_or_else(|| unknown_model(name).param("name"))?;
    let mut out = BytesMut::new();
    model(&mut out, sort, name, &group, &wildcard, &[]);
    Ok(out.freeze())
}

/// `LanguageModel` or `EmbeddingModel`. Prices are those of the group's first deployment, for calls of ordinary length.
fn model(out: &mut BytesMut, sort: Sort, name: &str, group: &Group, wildcard: &str, aliases: &[&str]) {
    let price = group.deployments.first().and_then(|first| first.price(&first.upstream_model(wildcard)));
    let tier = price.as_ref().and_then(|price| price.tiers.first()).cloned().unwrap_or_default();
    let PriceTier { input, output, cache_read, .. } = tier;
    let units = |nanos: u64| (nanos.saturating_add(NANOS_PER_UNIT / 2)) / NANOS_PER_UNIT;
    let created = i64::try_from(group.created).unwrap_or(0);
    put::text(out, 1, name);
    put::packed(out, 3, MODALITY_TEXT);
    if sort == Sort::Embedding {
        put::packed(out, 4, MODALITY_EMBEDDING);
        put::number(out, 5, units(input));
        put::seconds(out, 7, created);
    } else {
        put::packed(out, 4, MODALITY_TEXT);
        put::number(out, 5, units(input));
        put::number(out, 7, units(output));
        put::seconds(out, 8, created);
    }
    aliases.iter().for_each(|alias| put::text(out, 11, alias));
    if sort == Sort::Language {
        put::number(out, 12, units(cache_read.unwrap_or(input)));
    }
}
