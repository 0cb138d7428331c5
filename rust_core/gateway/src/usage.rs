//! Token usage of one call, as every provider's report is reduced to it.
//!
//! Apart because providers fill it, pricing reads it and the ledger writes it, and none of them knows the others.

/// Tokens of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, `cached` and `cache_write` included.
    pub prompt: u64,
    /// All output tokens, `reasoning` included.
    pub completion: u64,
    /// Part of `prompt` read from the provider's cache.
    pub cached: u64,
    /// Part of `prompt` written to the provider's cache.
    pub cache_write: u64,
    /// Part of `completion` spent on reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// Input and output together: what a tokens-per-minute limit counts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}
