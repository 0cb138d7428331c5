//! Answers as they leave the process: the names under which they are kept elsewhere, and the bytes that are kept there.
//!
//! Apart from what is asked and told, because here it is decided what another may learn. Names are digests under the
//! installation's pepper, so that nobody can try guesses of a prompt or of a key on them, and each answer has a key of its
//! own that follows from the pepper and from all that the client said. Whoever reads the store learns how many answers
//! there are, and how long.

use bytes::Bytes;

use super::{Answer, Print};
use crate::auth::digest::{Digest, Pepper};
use crate::auth::seal;

/// The layout within the seal: this byte, status (2 bytes, little endian), whether it was a stream (1), length of the
/// headers (4, little endian), headers, body.
const LAYOUT: u8 = 1;

/// What a request with an idempotency key is called elsewhere.
#[derive(Clone)]
pub struct Names {
    id: Digest,
    request: Digest,
    key: [u8; 32],
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Names {
    /// Of `caller` (who, where, under which key) and of what is asked.
    #[must_use]
    pub fn of(pepper: &Pepper, caller: &Print, request: &Print) -> Self {
        let (caller, request) = (&caller.as_bytes()[..], &request.as_bytes()[..]);
        Self {
            id: pepper.mac("idempotency id 1", &[caller]),
            request: pepper.mac("idempotency request 1", &[caller, request]),
            key: *pepper.mac("idempotency seal 1", &[caller, request]).as_bytes(),
        }
    }

    /// Which request of whom.
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// What is asked.
    #[must_use]
    pub const fn request(&self) -> Digest {
        self.request
    }

    /// The answer as it may be kept by others; `None`: it cannot be sealed.
    #[must_use]
    pub fn seal(&self, answer: &Answer) -> Option<Vec<u8>> {
        let headers = u32::try_from(answer.headers.len()).ok()?;
        let mut plain = Vec::with_capacity(8 + answer.bytes());
        plain.push(LAYOUT);
        plain.extend_from_slice(&answer.status.to_le_bytes());
        plain.push(u8::from(answer.streamed));
        plain.extend_from_slice(&headers.to_le_bytes());
        plain.extend_from_slice(&answer.headers);
        plain.extend_from_slice(&answer.body);
        seal::seal(&self.key, &plain, self.id.as_bytes()).ok()
    }

    /// The reverse of [`Names::seal`]; `None`: this is no answer to this request, or one of another version.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Answer> {
        let plain = Bytes::from(seal::unseal(&self.key, sealed, self.id.as_bytes()).ok()?);
        let (head, rest) = plain.split_first_chunk::<8>()?;
        let [LAYOUT, low, high, streamed, length @ ..] = *head else { return None };
        let headers = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= rest.len())?;
        Some(Answer {
            status: u16::from_le_bytes([low, high]),
            headers: plain.slice(8..8 + headers),
            body: plain.slice(8 + headers..),
            streamed: streamed == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(caller: &str, request: &str) -> Names {
        let pepper = Pepper::new(&[7; 32]).unwrap();
        Names::of(&pepper, &Print::of(&[caller.as_bytes()]), &Print::of(&[request.as_bytes()]))
    }

    fn answer(body: &'static str) -> Answer {
        Answer {
            status: 404,
            headers: Bytes::from_static(b"content-type: x\r\n"),
            body: Bytes::from_static(body.as_bytes()),
            streamed: true,
        }
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let sealed = names("a", "b").seal(&answer("hello")).unwrap();
        let opened = names("a", "b").open(&sealed).unwrap();
        assert_eq!((opened.status, opened.streamed), (404, true));
        assert_eq!(opened.headers, Bytes::from_static(b"content-type: x\r\n"));
        assert_eq!(opened.body, Bytes::from_static(b"hello"));
        assert!(!sealed.windows(5).any(|w| w == b"hello" || w == b"conte"));
    }

    #[test]
    fn it_opens_for_its_own_request_only() {
        let sealed = names("a", "b").seal(&answer("hello")).unwrap();
        assert!(names("a", "c").open(&sealed).is_none());
        assert!(names("c", "b").open(&sealed).is_none());
        let pepper = Pepper::new(&[8; 32]).unwrap();
        assert!(Names::of(&pepper, &Print::of(&[b"a"]), &Print::of(&[b"b"])).open(&sealed).is_none());
        assert!(names("a", "b").open(&sealed[..sealed.len() - 1]).is_none());
        assert!(names("a", "b").open(b"").is_none());
    }

    #[test]
    fn another_layout_is_left_alone() {
        let names = names("a", "b");
        for plain in [&[2, 200, 0, 0, 0, 0, 0, 0][..], &[1, 200, 0, 0, 1, 0, 0, 0], &[1, 200], &[]] {
            let sealed = seal::seal(&names.key, plain, names.id.as_bytes()).unwrap();
            assert!(names.open(&sealed).is_none(), "{plain:?}");
        }
    }

    #[test]
    fn the_same_body_of_two_callers_has_two_names() {
        assert_ne!(names("a", "b").request(), names("c", "b").request());
        assert_eq!(names("a", "b").id(), names("a", "c").id());
    }
}
