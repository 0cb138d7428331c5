//! Token counting: no panic, and never more tokens than bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_gateway::tokens::{Encoding, count};

fuzz_target!(|text: &str| {
    for encoding in [Encoding::O200kBase, Encoding::Cl100kBase] {
        let tokens = count(encoding, text);
        assert!(tokens <= text.len() && (tokens == 0) == text.is_empty());
    }
});
