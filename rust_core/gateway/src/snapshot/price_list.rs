//! The prices of a deployment: one for a named model, or many, by name and pattern, for a wildcard.
//!
//! Patterns are those of `python/penstock/prices/patterns.py`: `*` stands for any run of characters and `#` for a
//! digit; names are compared in lower case; an exact name wins, then the pattern with the most characters.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use crate::pricing::Price;

/// Names remembered after their pattern was found, so that it is not searched again.
const REMEMBERED: usize = 1024;

/// Finds the price of an upstream model.
#[derive(Debug)]
pub(super) struct PriceList {
    only: Option<Arc<Price>>,
    exact: HashMap<String, Arc<Price>>,
    patterns: Vec<(String, Arc<Price>)>,
    found: RwLock<HashMap<String, Option<Arc<Price>>>>,
}

impl PriceList {
    pub(super) fn new(only: Option<Price>, named: BTreeMap<String, Price>) -> Self {
        let (patterns, exact): (Vec<_>, Vec<_>) = named
            .into_iter()
            .map(|(name, price)| (name, Arc::new(price)))
            .partition(|(name, _)| name.contains(['*', '#']));
        let mut patterns = patterns;
        patterns.sort_by_cached_key(|(name, _)| (Reverse(name.bytes().filter(|b| *b != b'*').count()), name.clone()));
        Self { only: only.map(Arc::new), exact: exact.into_iter().collect(), patterns, found: RwLock::default() }
    }

    /// The price whatever the model's name: `Some(None)` when there is none; `None` when it depends on the name.
    pub(super) fn for_any_name(&self) -> Option<Option<Arc<Price>>> {
        let named = self.only.is_none() && !(self.exact.is_empty() && self.patterns.is_empty());
        (!named).then(|| self.only.clone())
    }

    pub(super) fn get(&self, model: &str) -> Option<Arc<Price>> {
        if self.only.is_some() || (self.exact.is_empty() && self.patterns.is_empty()) {
            return self.only.clone();
        }
        let name = model.to_lowercase();
        if let Some(price) = self.exact.get(&name) {
            return Some(Arc::clone(price));
        }
        if let Some(known) = self.found.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return known.clone();
        }
        let price = self
            .patterns
            .iter()
            .find(|(p, _)| matches(p.as_bytes(), name.as_bytes()))
            .map(|(_, price)| Arc::clone(price));
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        if found.len() < REMEMBERED {
            found.insert(name, price.clone());
        }
        price
    }
}

/// Whether `name` fits `pattern`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut there) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(there) {
        match pattern.get(at) {
            Some(b'*') => {
                back = Some((at, there));
                at += 1;
                continue;
            }
            Some(b'#') if letter.is_ascii_digit() => {}
            Some(p) if p == letter && *p != b'#' => {}
            _ => {
                let Some((star, mark)) = back else { return false };
                back = Some((star, mark + 1));
                (at, there) = (star + 1, mark + 1);
                continue;
            }
        }
        at += 1;
        there += 1;
    }
    pattern.get(at..).unwrap_or_default().iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(version: &str) -> Price {
        serde_json::from_value(serde_json::json!({"version": version, "tiers": [
            {"from_input_tokens": 0, "input": 1, "output": 1, "cache_read": null, "cache_write": null, "reasoning": null, "request": 0}
        ]}))
        .unwrap()
    }

    #[test]
    fn exact_names_win_then_the_longest_pattern() {
        let names = ["gpt-4o", "gpt-4*", "gpt-*", "claude-########", "*haiku*"];
        let list = PriceList::new(None, names.iter().map(|n| ((*n).to_owned(), price(n))).collect());
        let version = |model: &str| list.get(model).map(|p| p.version.clone());
        assert_eq!(version("GPT-4o").as_deref(), Some("gpt-4o"));
        assert_eq!(version("gpt-4o-2024").as_deref(), Some("gpt-4*"));
        assert_eq!(version("gpt-5").as_deref(), Some("gpt-*"));
        assert_eq!(version("claude-20260101").as_deref(), Some("claude-########"));
        assert_eq!(version("claude-3-haiku-x").as_deref(), Some("*haiku*"));
        assert_eq!(version("claude-2026010").as_deref(), None);
        assert_eq!(version("claude-2026010").as_deref(), None);
    }

    #[test]
    fn one_price_holds_for_every_name() {
        let list = PriceList::new(Some(price("config")), BTreeMap::new());
        assert_eq!(list.get("anything").unwrap().version, "config");
    }
}
