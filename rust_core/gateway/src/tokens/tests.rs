use std::collections::HashMap;
use std::time::Instant;

use proptest::prelude::*;

use super::vocab::{CL100K, LONGEST, O200K, Vocab};
use super::*;
use crate::scan;

const BOTH: [Encoding; 2] = [Encoding::O200kBase, Encoding::Cl100kBase];

/// Byte pair encoding as its definition says: merge the adjacent pair of lowest rank, the leftmost first, until none is a token.
fn by_definition(ranks: &HashMap<Vec<u8>, u32>, piece: &[u8]) -> usize {
    let mut parts: Vec<Vec<u8>> = piece.iter().map(|&byte| vec![byte]).collect();
    loop {
        let ranked =
            parts.windows(2).enumerate().filter_map(|(i, pair)| ranks.get(&pair.concat()).map(|rank| (*rank, i)));
        let Some((_, i)) = ranked.min() else { return parts.len() };
        let second = parts.remove(i + 1);
        parts[i].extend(second);
    }
}

fn ranks(vocab: &Vocab) -> HashMap<Vec<u8>, u32> {
    vocab.tokens().collect()
}

fn pieces(encoding: Encoding, text: &str) -> Vec<&str> {
    let (by_pattern, with_words) = match encoding {
        Encoding::O200kBase => {
            (split::o200k as fn(&[u8], usize) -> usize, o200k as fn(&mut Words, &[u8], usize) -> usize)
        }
        Encoding::Cl100kBase => (split::cl100k as _, cl100k as _),
    };
    let mut words = Words::default();
    let mut found = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let end = by_pattern(text.as_bytes(), start);
        assert_eq!(with_words(&mut words, text.as_bytes(), start), end, "{encoding} {start} {text:?}");
        found.push(&text[start..end]);
        start = end;
    }
    found
}

#[test]
fn the_tables_hold_every_token_once() {
    for (vocab, tokens) in [(&O200K, 199_998), (&CL100K, 100_256)] {
        let ranks = ranks(vocab);
        assert_eq!(ranks.len(), tokens);
        let mut numbers: Vec<u32> = ranks.values().copied().collect();
        numbers.sort_unstable();
        assert!(numbers.iter().enumerate().all(|(i, &rank)| i == rank as usize));
        assert_eq!(ranks.keys().map(Vec::len).max(), Some(LONGEST));
        for (token, rank) in &ranks {
            assert_eq!(vocab.rank(token, 0, token.len()), Some(*rank));
            let inside = [b"ab", &token[..], b"the end of a longer text"].concat();
            assert_eq!(vocab.rank(&inside, 2, 2 + token.len()), Some(*rank));
            let longer = [&token[..], b"\xf5"].concat();
            assert_eq!(vocab.rank(&longer, 0, longer.len()), None);
        }
    }
}

/// Known counts, from `tiktoken` itself.
#[test]
fn published_examples() {
    assert_eq!(count(Encoding::O200kBase, ""), 0);
    assert_eq!(count(Encoding::Cl100kBase, "tiktoken is great!"), 6);
    assert_eq!(count(Encoding::Cl100kBase, "antidisestablishmentarianism"), 6);
    assert_eq!(count(Encoding::O200kBase, "antidisestablishmentarianism"), 6);
    assert_eq!(count(Encoding::Cl100kBase, "お誕生日おめでとう"), 9);
    assert_eq!(count(Encoding::O200kBase, "お誕生日おめでとう"), 8);
    assert_eq!(count(Encoding::Cl100kBase, "<|endoftext|>"), 7);
}

#[test]
fn pieces_by_hand() {
    let (o, c) = (Encoding::O200kBase, Encoding::Cl100kBase);
    for (encoding, text, expected) in [
        (o, "Hello, world's  end\n\n  x", vec!["Hello", ",", " world's", " ", " end", "\n\n", " ", " x"]),
        (c, "Hello, world's  end\n\n  x", vec!["Hello", ",", " world", "'s", " ", " end", "\n\n", " ", " x"]),
        (o, "HTTPServer getURL", vec!["HTTPServer", " get", "URL"]),
        (c, "HTTPServer getURL", vec!["HTTPServer", " getURL"]),
        (o, "漢AB", vec!["漢", "AB"]),
        (c, "漢AB", vec!["漢AB"]),
        (o, "a\n\n  ", vec!["a", "\n\n", "  "]),
        (c, "a\n\n  ", vec!["a", "\n\n  "]),
        (o, "1234567", vec!["123", "456", "7"]),
        (o, "it'\u{17f} 'LLama", vec!["it'\u{17f}", " '", "LLama"]),
        (c, "'LLama", vec!["'LL", "ama"]),
        (o, "//\n/ ...\r\n", vec!["//\n/", " ...\r\n"]),
        (c, "//\n/", vec!["//\n", "/"]),
        (o, "\u{301}AB", vec!["\u{301}", "AB"]),
        (o, "(e\u{301})", vec!["(e\u{301}", ")"]),
        (o, "\tx\u{a0}y\u{2028}\u{2028}", vec!["\tx", "\u{a0}y", "\u{2028}\u{2028}"]),
    ] {
        assert_eq!(pieces(encoding, text), expected, "{encoding} {text:?}");
    }
}

#[test]
fn long_pieces_are_merged_like_short_ones() {
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for (number, vocab) in [&O200K, &CL100K].into_iter().enumerate() {
        let ranks = ranks(vocab);
        let merged = |piece: &str| merge::count(vocab, &mut Memo::new(number), piece.as_bytes(), 0, piece.len());
        for alphabet in ["a", " ", "ab", "=-", "abcdefghijklmnopqrstuvwxyz", "漢字日本語学", "กขคงจ"] {
            let letters: Vec<char> = alphabet.chars().collect();
            for length in [2, 29, 30, 31, 62, 63, 64, 300] {
                let piece: String = (0..length).map(|_| letters[random() % letters.len()]).collect();
                let expected = by_definition(&ranks, piece.as_bytes());
                if expected > 1 {
                    assert_eq!(merged(&piece), expected, "{piece}");
                    assert_eq!(merged(&piece), expected, "again: {piece}");
                }
            }
        }
        // Past one window; the definition is quadratic, so one size each.
        for alphabet in ["a", "abcdefghijklmnopqrstuvwxyz", "=-*"] {
            let letters: Vec<char> = alphabet.chars().collect();
            let piece: String = (0..5_000).map(|_| letters[random() % letters.len()]).collect();
            assert_eq!(merged(&piece), by_definition(&ranks, piece.as_bytes()), "{alphabet}");
        }
    }
}

/// Words that start and end at every place of a block of 64 bytes, and at the end of the text.
#[test]
fn words_at_the_borders_of_blocks() {
    let words =
        [" a", "Ab", " HTTPServer", "it's", " x'LL", "é", " naïve", "漢A", "\n", " \t", "1", "'s", "\0z", " Caf\u{e9}"];
    for (i, first) in words.iter().enumerate() {
        for second in words {
            for filler in ["x", "X", " ", "xY", "é"] {
                for length in (0..5).chain(56..70).chain(120..132) {
                    let fill: String = filler.chars().cycle().skip(i % 2).take(length).collect();
                    for encoding in BOTH {
                        assert_eq!(
                            pieces(encoding, &format!("{fill}{first}{second}")).concat().len(),
                            fill.len() + first.len() + second.len()
                        );
                        assert!(!pieces(encoding, &format!("{first}{fill}{second}{first} {fill}")).is_empty());
                    }
                }
            }
        }
    }
}

/// Where a word stands, and what was counted before it, changes nothing.
#[test]
fn counts_do_not_depend_on_what_was_counted_before() {
    let mut state = 5_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let letters: Vec<char> = "abcdeghiorstüäжшл漢字일ह😀".chars().collect();
    let all = [ranks(&O200K), ranks(&CL100K)];
    // More words than the memo holds, so that they displace each other.
    let words: Vec<String> =
        (0..12_000).map(|_| (0..1 + random(12)).map(|_| letters[random(letters.len())]).collect()).collect();
    for (encoding, ranks) in BOTH.into_iter().zip(&all) {
        let expected: Vec<usize> = words
            .iter()
            .map(|word| pieces(encoding, word).iter().map(|piece| by_definition(ranks, piece.as_bytes())).sum())
            .collect();
        for _ in 0..20_000 {
            let i = random(words.len());
            assert_eq!(count(encoding, &words[i]), expected[i], "{encoding} {}", words[i]);
            let (j, line) = (random(words.len()), count(encoding, "\n"));
            let both = format!("{}\n{}", words[i], words[j]);
            assert_eq!(count(encoding, &both), expected[i] + line + expected[j], "{encoding} {both:?}");
        }
    }
}

#[test]
fn hostile_text_takes_linear_time() {
    for encoding in BOTH {
        for unit in [
            "a",
            " ",
            "\n",
            " \n",
            "ab",
            "\u{301}",
            "漢",
            "é!",
            "A",
            "\u{301}A",
            "'",
            "1",
            "\0",
            "\u{10ffff}",
            "\t ",
            "_x",
        ] {
            let text = unit.repeat(1_000_000 / unit.len());
            let started = Instant::now();
            assert!(count(encoding, &text) > 0);
            // Linear is some milliseconds; quadratic would be minutes.
            assert!(started.elapsed().as_secs() < 10, "{encoding} {unit:?}");
        }
    }
}

#[test]
fn encodings_by_model() {
    for model in [
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4.1-nano",
        "gpt-5",
        "o3",
        "chatgpt-4o-latest",
        "claude-sonnet-4-5",
        "llama",
        "",
        "azure/gpt-4o",
    ] {
        assert_eq!(for_model(model), Encoding::O200kBase, "{model}");
    }
    for model in [
        "gpt-4",
        "gpt-4-turbo",
        "gpt-4-0613",
        "gpt-3.5-turbo",
        "gpt-35-turbo",
        "text-embedding-3-small",
        "text-embedding-ada-002",
        "azure/gpt-4",
        "ft:gpt-3.5-turbo:x",
    ] {
        assert_eq!(for_model(model), Encoding::Cl100kBase, "{model}");
    }
    assert_eq!("o200k_base".parse(), Ok(Encoding::O200kBase));
    assert_eq!("cl100k_base".parse(), Ok(Encoding::Cl100kBase));
    assert!("p50k_base".parse::<Encoding>().unwrap_err().to_string().contains("o200k_base"));
}

fn prompt(body: &str) -> usize {
    count_prompt(&scan::object(body.as_bytes()).unwrap(), Encoding::O200kBase)
}

fn text(text: &str) -> usize {
    count(Encoding::O200kBase, text)
}

#[test]
fn chat_framing() {
    // Three for the message, one for the role, the text, three for priming.
    let one = 3 + 1 + text("Hello, world") + 3;
    assert_eq!(prompt(r#"{"messages":[{"role":"user","content":"Hello, world"}]}"#), one);
    assert_eq!(prompt(r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Hello, world"}]}]}"#), one);
    assert_eq!(
        prompt(r#"{"messages":[{"role":"user","content":"Hell\u006f, world","name":"Bob"}]}"#),
        one + 1 + text("Bob")
    );
    assert_eq!(prompt(r#"{"messages":[]}"#), 3);
    let called = r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Rome\"}"}}]},
        {"role":"tool","tool_call_id":"call_1","content":"22"}]}"#;
    assert_eq!(
        prompt(called),
        3 + 3 + text("assistant") + text("weather") + text("{\"city\":\"Rome\"}") + 3 + text("tool") + text("22")
    );
    let tools = r#"[{"type":"function","function":{"name":"f"}}]"#;
    assert_eq!(prompt(&format!(r#"{{"messages":[],"tools":{tools}}}"#)), 3 + text(tools));
}

#[test]
fn parts_that_are_not_text() {
    let part = |part: &str| prompt(&format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#)) - 7;
    assert_eq!(part(r#"{"type":"image_url","image_url":{"url":"https://x/y.png","detail":"low"}}"#), 85);
    assert_eq!(part(r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#), 765);
    assert_eq!(part(r#"{"type":"input_image","image_url":"https://x/y.png","detail":"low"}"#), 85);
    assert_eq!(part(r#"{"type":"image","source":{"type":"base64","data":"AAAA"}}"#), 765);
    let data = "A".repeat(64_000);
    assert_eq!(part(&format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}"#)), 10);
    assert_eq!(
        part(&format!(r#"{{"type":"file","file":{{"file_data":"data:application/pdf;base64,{data}"}}}}"#)),
        1_500
    );
    assert_eq!(
        part(&format!(r#"{{"type":"video","video":{{"url":"data:video/mp4;base64,{data}"}}}}"#)),
        text("video") + 1_500
    );
    assert_eq!(part(r#"{"type":"refusal","refusal":"No."}"#), text("No."));
    assert_eq!(part(r#"{"type":"new","anything":["some text"]}"#), text("new") + text("some text"));
}

#[test]
fn raw_inputs() {
    assert_eq!(prompt(r#"{"prompt":"Say this"}"#), text("Say this"));
    assert_eq!(prompt(r#"{"prompt":["one two","three"]}"#), text("one two") + text("three"));
    assert_eq!(prompt(r#"{"prompt":[1,2,3]}"#), 3);
    assert_eq!(prompt(r#"{"input":[[1,2],[3]],"model":"text-embedding-3-small"}"#), 3);
    assert_eq!(prompt(r#"{"input":"a b c","encoding_format":"float"}"#), text("a b c"));
}

#[test]
fn responses_and_anthropic() {
    assert_eq!(prompt(r#"{"input":"Hi","instructions":"Be brief"}"#), 3 + 1 + text("Hi") + 3 + text("Be brief") + 3);
    let items = r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"ok"}]}"#;
    assert_eq!(prompt(items), 3 + 1 + text("Hi") + 3 + 1 + text("f") + text("{}") + 3 + text("ok") + 3);
    let anthropic = r#"{"system":[{"type":"text","text":"Be brief"}],"messages":[
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"xyz"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"ok"}]}]}]}"#;
    assert_eq!(
        prompt(anthropic),
        3 + text("Be brief")
            + 3
            + text("assistant")
            + text("hm")
            + text("f")
            + text(r#"{"a":1}"#)
            + 3
            + text("user")
            + text("ok")
            + 3
    );
}

#[test]
fn odd_shapes_count_their_strings() {
    for body in ["{}", r#"{"messages":null}"#, r#"{"messages":5}"#] {
        assert!(prompt(body) <= 3, "{body}");
    }
    assert_eq!(prompt(r#"{"messages":{"a":["b",{"c":"dog cat"}]}}"#), text("b") + text("dog cat") + 3);
    let deep = format!(r#"{{"messages":[{{"role":"user","content":{}"x"{}}}]}}"#, "[".repeat(500), "]".repeat(500));
    assert!(prompt(&deep) > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_split_without_loss_and_merged_by_the_definition(text in "(\\PC|[ \\n\\r\\t'aB1漢\u{301}]){0,60}") {
        static RANKS: std::sync::LazyLock<[HashMap<Vec<u8>, u32>; 2]> = std::sync::LazyLock::new(|| [ranks(&O200K), ranks(&CL100K)]);
        for (encoding, ranks) in BOTH.into_iter().zip(&*RANKS) {
            let pieces = pieces(encoding, &text);
            prop_assert_eq!(pieces.concat(), &*text);
            let expected: usize = pieces.iter().map(|piece| by_definition(ranks, piece.as_bytes())).sum();
            prop_assert_eq!(count(encoding, &text), expected);
        }
    }
}
