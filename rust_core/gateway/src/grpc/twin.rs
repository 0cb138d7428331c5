//! Chunks that are the one before but for a word.
//!
//! The chunks of a stream are the same text again and again: id, time, model, and one word that is new. Once two chunks
//! were seen to differ in such words only, what stands between them is compared, and the message is put together from
//! the last one's bytes; the transcoder, which would come to the same, is asked again when anything else changes.
//!
//! A form is made by translating the chunk with marks in the places of its words and looking where in the message they
//! are, and it is used only if it gives the message of the chunk that it was made from.

use bytes::{BufMut, BytesMut};
use memchr::memmem;

use super::schema::{self, Message};
use super::{from_json, wire};
use crate::scan::plain_prefix;

/// A word that may differ: its member's name, and the numbers of the fields that lead to it.
type Place = (&'static [u8], &'static [u32]);

const CHAT: [Place; 3] =
    [(b"\"content\"", &[4, 2, 2]), (b"\"reasoning_content\"", &[4, 2, 5]), (b"\"obfuscation\"", &[8])];
const COMPLETIONS: [Place; 1] = [(b"\"text\"", &[4, 2])];

/// Larger chunks are not kept.
const LARGEST: usize = 8 * 1024;
/// Forms that were of no use, after which no more are made: the chunks of this stream differ in other ways.
const PATIENCE: u32 = 8;

/// What is known of a stream's chunks.
#[derive(Debug)]
pub(crate) struct Twin {
    schema: &'static Message,
    places: &'static [Place],
    /// An empty word has its field too.
    empties: bool,
    form: Option<Form>,
    /// The last chunk that the transcoder translated.
    last: Vec<u8>,
    unused: u32,
}

impl Twin {
    /// For streams whose chunks are such messages; `None`: they are never alike.
    pub(crate) fn of(schema: &'static Message) -> Option<Self> {
        let (places, empties): (&'static [Place], bool) = if std::ptr::eq(schema, schema::CHAT_STREAM_RESPONSE) {
            (&CHAT, true)
        } else if std::ptr::eq(schema, schema::COMPLETIONS_STREAM_RESPONSE) {
            (&COMPLETIONS, false)
        } else {
            return None;
        };
        Some(Self { schema, places, empties, form: None, last: Vec::new(), unused: 0 })
    }

    /// Appends the message of a chunk that is like the last one; `false`, and nothing, when it is not.
    pub(crate) fn put(&mut self, chunk: &[u8], out: &mut BytesMut) -> bool {
        let Some(form) = &mut self.form else { return false };
        let Some(words) = form.words(chunk) else { return false };
        form.used = true;
        self.unused = 0;
        form.put(&words, out);
        true
    }

    /// Learns from a chunk that was not like the last one; `message` is what the transcoder made of it.
    pub(crate) fn learn(&mut self, chunk: &[u8], message: &[u8]) {
        if self.unused >= PATIENCE || chunk.len() > LARGEST {
            return;
        }
        let Some((texts, places)) = self.split(chunk) else { return };
        // Whether it is worth it shows in the chunk before: only what came twice is likely to come again.
        let begins = texts.first().is_some_and(|first| self.last.starts_with(first));
        if begins {
            self.unused += u32::from(self.form.as_ref().is_some_and(|form| !form.used));
            if let Some(form) = self.made(&texts, &places).filter(|form| form.gives(chunk, message)) {
                self.form = Some(form);
            }
        }
        self.last.clear();
        self.last.extend_from_slice(chunk);
    }

    /// The chunk without its words, and which words are left out, in the order in which they come.
    fn split<'c>(&self, chunk: &'c [u8]) -> Option<(Vec<&'c [u8]>, Vec<Place>)> {
        let mut found: Vec<(usize, usize, Place)> = Vec::new();
        for place in self.places {
            let mut all = memmem::find_iter(chunk, place.0);
            let (Some(at), None) = (all.next(), all.next()) else { continue };
            let after = at + place.0.len();
            // The value, when it is a plain string.
            let gap = chunk.get(after..)?.iter().take_while(|b| matches!(b, b':' | b' ')).count();
            if chunk.get(after + gap) != Some(&b'"') {
                continue;
            }
            let start = after + gap + 1;
            let end = start + plain_prefix(chunk.get(start..)?);
            if chunk.get(end) == Some(&b'"') {
                found.push((start, end, *place));
            }
        }
        found.sort_unstable_by_key(|(start, ..)| *start);
        let mut texts = Vec::with_capacity(found.len() + 1);
        let mut done = 0;
        for (start, end, _) in &found {
            texts.push(chunk.get(done..*start)?);
            done = *end;
        }
        texts.push(chunk.get(done..)?);
        (!found.is_empty()).then(|| (texts, found.into_iter().map(|(.., place)| place).collect()))
    }

    fn made(&self, texts: &[&[u8]], places: &[Place]) -> Option<Form> {
        let marks: Vec<String> = (0..places.len()).map(|n| format!("<penstock {n}>")).collect();
        let mut marked = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            marked.extend_from_slice(text);
            marked.extend_from_slice(marks.get(n).map_or(&[], |mark| mark.as_bytes()));
        }
        let mut message = BytesMut::new();
        from_json::object(&marked, self.schema, &mut message).ok()?;
        let wanted: Vec<(&[u32], usize, &[u8])> =
            places.iter().zip(&marks).enumerate().map(|(n, (place, mark))| (place.1, n, mark.as_bytes())).collect();
        let mut seen = 0;
        let pieces = pieces(&message, &wanted, &mut seen)?;
        let texts = texts.iter().map(|text| text.to_vec()).collect();
        (seen == places.len()).then_some(Form { texts, pieces, empties: self.empties, used: false })
    }
}

/// A part of a message.
#[derive(Debug)]
enum Piece {
    /// The same in every message.
    Same(Vec<u8>),
    /// A field with the word of that place.
    Word { tag: u8, place: usize },
    /// A field with a message that has words.
    Nested { tag: u8, inside: Vec<Piece> },
}

/// Takes a message apart around the fields that have the marks.
fn pieces(message: &[u8], wanted: &[(&[u32], usize, &[u8])], seen: &mut usize) -> Option<Vec<Piece>> {
    let mut reader = wire::Reader::new(message);
    let (mut pieces, mut done) = (Vec::new(), 0);
    loop {
        let start = message.len() - reader.rest().len();
        let Some((number, value)) = reader.next().ok()? else { break };
        let end = message.len() - reader.rest().len();
        let below: Vec<(&[u32], usize, &[u8])> = (wanted.iter())
            .filter_map(|(path, place, mark)| {
                path.split_first().filter(|(first, _)| **first == number).map(|(_, rest)| (rest, *place, *mark))
            })
            .collect();
        let (Some(bytes), Some((rest, place, mark))) = (value.bytes(), below.first()) else { continue };
        let tag = u8::try_from(number << 3 | 2).ok().filter(|tag| *tag < 0x80)?;
        let piece = if rest.is_empty() {
            // The place has another value than the chunk's: not the word that was meant.
            if bytes != *mark {
                return None;
            }
            *seen += 1;
            Piece::Word { tag, place: *place }
        } else {
            Piece::Nested { tag, inside: self::pieces(bytes, &below, seen)? }
        };
        pieces.push(Piece::Same(message.get(done..start)?.to_vec()));
        pieces.push(piece);
        done = end;
    }
    pieces.push(Piece::Same(message.get(done..)?.to_vec()));
    Some(pieces)
}

/// What chunks have in common.
#[derive(Debug)]
struct Form {
    /// JSON between the words.
    texts: Vec<Vec<u8>>,
    /// The message.
    pieces: Vec<Piece>,
    empties: bool,
    used: bool,
}

/// As many words as there are places at most.
type Words<'c> = [&'c [u8]; CHAT.len()];

impl Form {
    /// The words of a chunk of this form.
    #[inline]
    fn words<'c>(&self, chunk: &'c [u8]) -> Option<Words<'c>> {
        let mut words: Words<'c> = [&[]; CHAT.len()];
        let mut rest = chunk;
        for (n, text) in self.texts.iter().enumerate() {
            rest = rest.strip_prefix(&text[..])?;
            if n + 1 == self.texts.len() {
                break;
            }
            let (word, after) = rest.split_at_checked(plain_prefix(rest))?;
            // Escapes, and what is not UTF-8, are the transcoder's to read or to refuse.
            std::str::from_utf8(word).ok().filter(|word| self.empties || !word.is_empty())?;
            *words.get_mut(n)? = word;
            rest = after;
        }
        rest.is_empty().then_some(words)
    }

    fn put(&self, words: &Words<'_>, out: &mut BytesMut) {
        put(&self.pieces, words, out);
    }

    fn gives(&self, chunk: &[u8], message: &[u8]) -> bool {
        let mut out = BytesMut::new();
        self.words(chunk).is_some_and(|words| {
            self.put(&words, &mut out);
            out == message
        })
    }
}

fn put(pieces: &[Piece], words: &Words<'_>, out: &mut BytesMut) {
    for piece in pieces {
        match piece {
            Piece::Same(bytes) => out.extend_from_slice(bytes),
            Piece::Word { tag, place } => {
                let word = words.get(*place).copied().unwrap_or_default();
                out.put_u8(*tag);
                wire::put_varint(out, word.len() as u64);
                out.extend_from_slice(word);
            }
            Piece::Nested { tag, inside } => {
                out.put_u8(*tag);
                wire::put_varint(out, size(inside, words) as u64);
                put(inside, words, out);
            }
        }
    }
}

/// Bytes of the pieces with these words.
fn size(pieces: &[Piece], words: &Words<'_>) -> usize {
    let field = |inside: usize| 1 + (64 - (inside as u64 | 1).leading_zeros() as usize).div_ceil(7) + inside;
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Same(bytes) => bytes.len(),
            Piece::Word { place, .. } => field(words.get(*place).map_or(0, |word| word.len())),
            Piece::Nested { inside, .. } => field(size(inside, words)),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn transcoded(chunk: &str, schema: &'static Message) -> Vec<u8> {
        let mut out = BytesMut::new();
        from_json::object(chunk.as_bytes(), schema, &mut out).unwrap();
        out.to_vec()
    }

    /// Sends chunks through; how many of them were put together from the form.
    fn through(chunks: &[String]) -> usize {
        through_as(chunks, schema::CHAT_STREAM_RESPONSE)
    }

    fn through_as(chunks: &[String], schema: &'static Message) -> usize {
        let mut twin = Twin::of(schema).unwrap();
        let mut alike = 0;
        for chunk in chunks {
            let mut out = BytesMut::new();
            if twin.put(chunk.as_bytes(), &mut out) {
                alike += 1;
                assert_eq!(out, transcoded(chunk, schema), "{chunk}");
            } else {
                assert!(out.is_empty());
                twin.learn(chunk.as_bytes(), &transcoded(chunk, schema));
            }
        }
        alike
    }

    fn chunk(word: &str) -> String {
        let word = serde_json::to_string(word).unwrap();
        format!(
            r#"{{"id":"c-1","object":"chat.completion.chunk","created":17,"model":"m","choices":[{{"index":0,"delta":{{"content":{word}}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
        )
    }

    #[test]
    fn chunks_that_differ_in_a_word_are_alike_from_the_third_on() {
        let long = "x".repeat(70_000);
        let words = ["Hello", " wörld", "", "\u{1f600}", &"y".repeat(127), &"z".repeat(200), &long];
        assert_eq!(through(&words.map(chunk)), words.len() - 2);
    }

    #[test]
    fn escapes_and_other_chunks_are_the_transcoders() {
        let chunks = ["a", "b", "c", "line\n", "d", "\"", "e"].map(chunk);
        assert_eq!(through(&chunks), 3);
        let first = r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
        let last = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
        let mut chunks = vec![first.to_owned(), chunk("a"), chunk("b"), chunk("c"), last.to_owned(), chunk("d")];
        assert_eq!(through(&chunks), 2);
        chunks.truncate(2);
        assert_eq!(through(&chunks), 0);
    }

    #[test]
    fn several_words_may_differ_and_spaces_may_follow_colons() {
        let chunks = [("a", "x1"), ("bc", "yy"), ("", "z"), ("def", "")].map(|(word, padding)| {
            format!(
                r#"{{"id": "c", "choices": [{{"index": 0, "delta": {{"content": "{word}"}}}}], "obfuscation": "{padding}"}}"#
            )
        });
        assert_eq!(through(&chunks), 2);
    }

    #[test]
    fn a_member_of_that_name_elsewhere_is_not_the_word() {
        // In `extra`, in another object, twice.
        let elsewhere = ["a", "b", "c", "d"].map(|word| format!(r#"{{"id":"c","content":"{word}","choices":[]}}"#));
        assert_eq!(through(&elsewhere), 0);
        let twice = ["a", "b", "c", "d"].map(|word| {
            format!(r#"{{"id":"c","x":{{"content":"{word}"}},"choices":[{{"index":0,"delta":{{"content":"s"}}}}]}}"#)
        });
        assert_eq!(through(&twice), 0);
        let two = ["a", "b", "c", "d"].map(|word| {
            format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{}}}},{{"index":1,"delta":{{"content":"{word}"}}}}]}}"#
            )
        });
        through(&two);
    }

    #[test]
    fn an_empty_text_of_a_completion_has_no_field() {
        let texts =
            ["a", "b", "", "c"].map(|word| format!(r#"{{"id":"c","choices":[{{"text":"{word}","index":0}}]}}"#));
        assert_eq!(through_as(&texts, schema::COMPLETIONS_STREAM_RESPONSE), 1);
    }

    #[test]
    fn no_more_is_learnt_from_chunks_that_never_come_again() {
        let chunks: Vec<String> = (0..100)
            .map(|n| chunk("a").replace("\"usage\":null", &format!("\"usage\":{{\"prompt_tokens\":{n}}}")))
            .collect();
        assert_eq!(through(&chunks), 0);
    }

    proptest! {
        #[test]
        fn whatever_the_words_the_message_is_the_transcoders(words in prop::collection::vec("\\PC{0,40}|[ -~]{0,300}", 3..9)) {
            let chunks: Vec<String> = words.iter().map(|word| chunk(word)).collect();
            through(&chunks);
            let texts: Vec<String> = (words.iter().map(|word| serde_json::to_string(word).unwrap()))
                .map(|word| format!(r#"{{"id":"c","choices":[{{"text":{word},"index":0}}]}}"#))
                .collect();
            through_as(&texts, schema::COMPLETIONS_STREAM_RESPONSE);
        }
    }
}
