//! What becomes of shared rates and slots when the gateways' shares of them have held for their time without Redis.
//!
//! Apart from the limits because it belongs to whoever pays, with limits of its own or without: the strictest choice among
//! those that a call stands under holds, and none of them is asked before.

use serde::{Deserialize, Serialize};

/// A payer's choice, from the loosest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenGone {
    /// Each gateway keeps the whole limit for itself.
    FailOpen,
    /// The share goes on.
    LocalShare,
    /// Calls are refused.
    FailClosed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_is_the_largest_and_no_choice_is_less_than_any() {
        let all = [None, Some(WhenGone::FailClosed), Some(WhenGone::FailOpen), Some(WhenGone::LocalShare)];
        assert_eq!(all.into_iter().max(), Some(Some(WhenGone::FailClosed)));
        assert_eq!([None, Some(WhenGone::FailOpen)].into_iter().max(), Some(Some(WhenGone::FailOpen)));
        assert_eq!(serde_json::to_string(&WhenGone::LocalShare).unwrap(), r#""local_share""#);
    }
}
