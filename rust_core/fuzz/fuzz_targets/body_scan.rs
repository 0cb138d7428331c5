//! The body scan against another JSON parser: the same verdict on every input, and edits that stay JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_gateway::scan::{self, ScanError};
use penstock_gateway::tokens::{Encoding, count_prompt};
use serde::de::IgnoredAny;

fuzz_target!(|body: &[u8]| {
    let text = std::str::from_utf8(body);
    let reference = text.is_ok_and(|text| {
        text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
            && serde_json::from_str::<IgnoredAny>(text).is_ok()
    });
    match scan::object(body) {
        Ok(scanned) => {
            assert!(reference, "accepted what is not a JSON object");
            assert_eq!(scanned.edit().apply(), body);
            let mut edit = scanned.edit();
            edit.set_raw("model", &b"\"m\""[..]).include_usage().remove("user");
            let edited = edit.apply();
            let again = scan::object(&edited).expect("an edited body is a body");
            assert_eq!(again.model_str().as_deref(), Some("m"));
            assert_eq!(again.include_usage, Some(true));
            assert!(again.get("user").is_none());
            count_prompt(&scanned, Encoding::O200kBase);
        }
        Err(ScanError::TooDeep | ScanError::DuplicateKey { .. } | ScanError::WrongType { .. }) => {}
        Err(error) => assert!(!reference, "refused a JSON object: {error}"),
    }
});
