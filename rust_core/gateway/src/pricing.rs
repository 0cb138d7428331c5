//! What a call costs, in nano-dollars.
//!
//! Apart from the ledger because admission asks the same question in advance (`worst_case`) that settlement answers
//! afterwards (`cost`). Integers only: the products are summed in 128 bits and rounded half up once per call, so that
//! a bill is the same whatever order its parts are added in.

use std::sync::Arc;

use serde::Deserialize;

use crate::usage::Usage;

/// Prices are per so many tokens.
const PER_TOKENS: u128 = 1_000_000;

/// Prices of one model from a number of input tokens on; nano-dollars per million tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceTier {
    /// The tier holds for calls with at least so many input tokens; the highest such tier wins.
    pub from_input_tokens: u64,
    /// Input tokens that the cache had no part in.
    pub input: u64,
    /// Output tokens that are not reasoning.
    pub output: u64,
    /// Input tokens read from the provider's cache; `None`: as `input`.
    pub cache_read: Option<u64>,
    /// Input tokens written to the provider's cache; `None`: as `input`.
    pub cache_write: Option<u64>,
    /// Reasoning tokens; `None`: as `output`.
    pub reasoning: Option<u64>,
    /// Nano-dollars per call, not per million.
    pub request: u64,
}

/// The price list of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Names the list that a cost was computed from.
    pub version: String,
    /// Ordered by `from_input_tokens`; the first starts at 0.
    pub tiers: Vec<PriceTier>,
}

impl Price {
    /// The tier for a call with `prompt` input tokens; `None` when the list has none that low.
    fn tier(&self, prompt: u64) -> Option<&PriceTier> {
        self.tiers.iter().rev().find(|tier| tier.from_input_tokens <= prompt)
    }
}

fn product(tokens: u64, price: u64) -> u128 {
    u128::from(tokens) * u128::from(price)
}

fn narrow(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// What a call with this usage costs, in nano-dollars, rounded half up.
///
/// Parts that a provider reports larger than their whole (more cached tokens than input tokens) are cut to the whole:
/// no token is charged twice.
#[must_use]
pub fn cost(price: &Price, usage: &Usage) -> u64 {
    let Some(tier) = price.tier(usage.prompt) else { return 0 };
    let cached = usage.cached.min(usage.prompt);
    let written = usage.cache_write.min(usage.prompt - cached);
    let fresh = usage.prompt - cached - written;
    let reasoning = usage.reasoning.min(usage.completion);
    let sum = product(fresh, tier.input)
        .saturating_add(product(cached, tier.cache_read.unwrap_or(tier.input)))
        .saturating_add(product(written, tier.cache_write.unwrap_or(tier.input)))
        .saturating_add(product(usage.completion - reasoning, tier.output))
        .saturating_add(product(reasoning, tier.reasoning.unwrap_or(tier.output)));
    narrow((sum.saturating_add(PER_TOKENS / 2) / PER_TOKENS).saturating_add(u128::from(tier.request)))
}

/// The most that an input token, an output token and a call by itself can cost in a tier.
fn dearest_rates(tier: &PriceTier) -> [u64; 3] {
    let input = tier.input.max(tier.cache_read.unwrap_or(0)).max(tier.cache_write.unwrap_or(0));
    [input, tier.output.max(tier.reasoning.unwrap_or(0)), tier.request]
}

/// The most a call can cost that has at most `prompt` input and `max_output` output tokens, in nano-dollars, rounded up.
///
/// Every tier up to the prompt's is considered, and in each the dearest way to be charged, because neither the cache's
/// part nor the reasoning's is known in advance.
#[must_use]
pub fn worst_case(price: &Price, prompt: u64, max_output: u64) -> u64 {
    let of_tier = |tier: &PriceTier| {
        let [input, output, request] = dearest_rates(tier);
        let sum = product(prompt, input).saturating_add(product(max_output, output));
        narrow(sum.div_ceil(PER_TOKENS).saturating_add(u128::from(request)))
    };
    price.tiers.iter().filter(|tier| tier.from_input_tokens <= prompt).map(of_tier).max().unwrap_or(0)
}

/// Those of the prices that can be the dearest for some call: a deployment's price matters to [`worst_case`] only when
/// no other is as high in every part.
#[must_use]
pub fn dearest(prices: Vec<Arc<Price>>) -> Vec<Arc<Price>> {
    let mut kept: Vec<Arc<Price>> = Vec::new();
    for price in prices {
        if !kept.iter().any(|other| covers(other, &price)) {
            kept.retain(|other| !covers(&price, other));
            kept.push(price);
        }
    }
    kept
}

/// Whether a call never costs less by `high` than by `low`, judged tier by tier.
fn covers(high: &Price, low: &Price) -> bool {
    high.tiers.len() == low.tiers.len()
        && high.tiers.iter().zip(&low.tiers).all(|(h, l)| {
            h.from_input_tokens == l.from_input_tokens
                && dearest_rates(h).iter().zip(dearest_rates(l)).all(|(h, l)| *h >= l)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn flat(tier: PriceTier) -> Price {
        Price { version: "test".into(), tiers: vec![tier] }
    }

    #[test]
    fn a_price_list_reads_from_the_snapshots_json() {
        let json = r#"{"version":"config","tiers":[{"from_input_tokens":0,"input":2500000000,"output":10000000000,
            "cache_read":1250000000,"cache_write":null,"reasoning":null,"request":0}]}"#;
        let price: Price = serde_json::from_str(json).unwrap();
        // $2.50 and $10 per million: 1,000 fresh, 200 cached, 100 out = 0.0025 + 0.00025 + 0.001 dollars.
        let usage = Usage { prompt: 1_200, cached: 200, completion: 100, ..Usage::default() };
        assert_eq!(cost(&price, &usage), 3_750_000);
        assert!(serde_json::from_str::<Price>(r#"{"version":"x","tiers":[{"inputs":1}]}"#).is_err());
    }

    #[test]
    fn the_sum_is_rounded_once_and_half_up() {
        let price = flat(PriceTier { input: 250_000, output: 250_000, ..PriceTier::default() });
        // Two quarters: rounding each part by itself would give 0.
        assert_eq!(cost(&price, &Usage { prompt: 1, completion: 1, ..Usage::default() }), 1);
        assert_eq!(cost(&price, &Usage { prompt: 1, ..Usage::default() }), 0);
    }

    #[test]
    fn the_highest_tier_reached_prices_the_whole_call() {
        let tiers = vec![
            PriceTier { input: 1_000_000, ..PriceTier::default() },
            PriceTier { from_input_tokens: 200_000, input: 2_000_000, ..PriceTier::default() },
        ];
        let price = Price { version: "t".into(), tiers };
        assert_eq!(cost(&price, &Usage { prompt: 199_999, ..Usage::default() }), 199_999);
        assert_eq!(cost(&price, &Usage { prompt: 200_000, ..Usage::default() }), 400_000);
    }

    #[test]
    fn each_part_has_its_price_and_none_is_charged_twice() {
        let price = flat(PriceTier {
            input: 1_000_000,
            output: 10_000_000,
            cache_read: Some(100_000),
            cache_write: Some(2_000_000),
            reasoning: Some(20_000_000),
            request: 7,
            ..PriceTier::default()
        });
        let usage = Usage { prompt: 100, cached: 50, cache_write: 10, completion: 10, reasoning: 4 };
        assert_eq!(cost(&price, &usage), 40 + 5 + 20 + 60 + 80 + 7);
        let absurd = Usage { prompt: 10, cached: 1_000, cache_write: 1_000, completion: 1, reasoning: 9 };
        assert_eq!(cost(&price, &absurd), 1 + 20 + 7);
    }

    #[test]
    fn the_largest_numbers_saturate() {
        let price = flat(PriceTier { input: u64::MAX, output: u64::MAX, request: u64::MAX, ..PriceTier::default() });
        let usage = Usage { prompt: u64::MAX, completion: u64::MAX, ..Usage::default() };
        assert_eq!(cost(&price, &usage), u64::MAX);
        assert_eq!(worst_case(&price, u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(cost(&Price { version: String::new(), tiers: vec![] }, &usage), 0);
    }

    fn any_tier() -> impl Strategy<Value = PriceTier> {
        let opt = || prop::option::of(0u64..100_000_000_000);
        (0u64..5_000, 0u64..100_000_000_000, 0u64..100_000_000_000, opt(), opt(), opt(), 0u64..1_000).prop_map(
            |(from_input_tokens, input, output, cache_read, cache_write, reasoning, request)| PriceTier {
                from_input_tokens,
                input,
                output,
                cache_read,
                cache_write,
                reasoning,
                request,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261127), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_worst_case_bounds_every_call(
            mut tiers in prop::collection::vec(any_tier(), 1..4),
            bound in (0u64..10_000, 0u64..10_000),
            parts in (0u64..10_000, 0u64..10_000, 0u64..10_000, 0u64..10_000, 0u64..10_000),
        ) {
            tiers.sort_by_key(|tier| tier.from_input_tokens);
            tiers[0].from_input_tokens = 0;
            let price = Price { version: "t".into(), tiers };
            let usage = Usage {
                prompt: parts.0.min(bound.0),
                completion: parts.1.min(bound.1),
                cached: parts.2,
                cache_write: parts.3,
                reasoning: parts.4,
            };
            prop_assert!(cost(&price, &usage) <= worst_case(&price, bound.0, bound.1));
        }

        #[test]
        fn the_dearest_prices_bound_what_all_of_them_do(
            lists in prop::collection::vec(prop::collection::vec(any_tier(), 1..3), 1..6), bound in (0u64..10_000, 0u64..10_000),
        ) {
            let prices: Vec<Arc<Price>> = lists.into_iter().map(|mut tiers| {
                tiers.sort_by_key(|tier| tier.from_input_tokens);
                tiers[0].from_input_tokens = 0;
                Arc::new(Price { version: "t".into(), tiers })
            }).collect();
            let most = |of: &[Arc<Price>]| of.iter().map(|price| worst_case(price, bound.0, bound.1)).max();
            prop_assert_eq!(most(&dearest(prices.clone())), most(&prices));
        }
    }
}
