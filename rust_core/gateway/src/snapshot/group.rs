//! A public model name, with everything that admission asks of its deployments together.

use std::sync::Arc;

use super::{Deployment, wire};
use crate::pricing::{self, Price};
use crate::routing::Shares;

/// A public model name.
#[derive(Debug)]
pub struct Group {
    /// As listed.
    pub name: Arc<str>,
    /// Candidates, by order.
    pub deployments: Vec<Arc<Deployment>>,
    /// Names keys may use for it.
    pub access_groups: Vec<String>,
    /// Groups tried afterwards.
    pub fallbacks: Vec<String>,
    /// Not listed.
    pub hidden: bool,
    /// Unix seconds.
    pub created: u64,
    /// For listings.
    pub owned_by: String,
    /// Some deployment has a bound on tokens per minute.
    pub limits_tokens: bool,
    /// The largest bound on output tokens that a deployment has.
    pub max_output_tokens: Option<u64>,
    /// Who is asked first.
    pub shares: Shares,
    /// Prices of which one is the dearest of the group, whatever a call needs; `None`: they depend on the model's name.
    dearest: Option<Vec<Arc<Price>>>,
}

/// A group found for a requested name.
#[derive(Debug, Clone)]
pub struct Match {
    /// The group.
    pub group: Arc<Group>,
    /// What stood for `*`.
    pub wildcard: String,
}

impl Match {
    /// The most that a call can cost at any deployment, in nano-dollars.
    #[must_use]
    pub fn worst_case(&self, prompt: u64, max_output: u64) -> u64 {
        let cost = |price: &Arc<Price>| pricing::worst_case(price, prompt, max_output);
        match &self.group.dearest {
            Some(prices) => prices.iter().map(cost).max().unwrap_or(0),
            None => {
                let named = |d: &Arc<Deployment>| d.price(&d.upstream_model(&self.wildcard));
                self.group.deployments.iter().filter_map(named).map(|price| cost(&price)).max().unwrap_or(0)
            }
        }
    }
}

pub(super) fn group(g: wire::ModelGroup, all: &[Arc<Deployment>]) -> Result<Group, String> {
    let mut deployments = Vec::with_capacity(g.deployments.len());
    for i in g.deployments {
        let d = all
            .get(i)
            .ok_or_else(|| format!("snapshot: group {:?} names deployment {i}, which does not exist", g.name))?;
        deployments.push(Arc::clone(d));
    }
    deployments.sort_by_key(|d| d.order);
    let prices: Option<Vec<_>> = deployments.iter().map(|d| d.prices.for_any_name()).collect();
    Ok(Group {
        name: g.name.into(),
        access_groups: g.access_groups,
        fallbacks: g.fallbacks,
        hidden: g.hidden,
        created: g.created,
        owned_by: g.owned_by,
        limits_tokens: deployments.iter().any(|d| d.limits.tpm.is_some()),
        max_output_tokens: deployments.iter().filter_map(|d| d.max_output_tokens).max(),
        shares: Shares::of(&deployments),
        dearest: prices.map(|prices| pricing::dearest(prices.into_iter().flatten().collect())),
        deployments,
    })
}
