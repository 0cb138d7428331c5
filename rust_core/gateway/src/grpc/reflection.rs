//! Server reflection (gRPC's reflection/v1 and v1alpha, which are alike on the wire): the protocol files, for tools.
//!
//! What it shows is public, so no key is asked for; it can be switched off.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::frame::Messages;
use super::local::KEYLESS;
use super::status::{Code, Status};
use super::stream::Stream;
use super::wire::{self, Malformed, Reader, Value};
use super::{Origin, local, method, schema};
use crate::engine::Stage;
use crate::errors::{Failure, Kind, Outcome};
use crate::listener::transport::{BodyError, HeaderLines};
use crate::phases;

static FILES: LazyLock<Files> = LazyLock::new(|| Files::read(schema::DESCRIPTORS).unwrap_or_default());

/// One protocol file.
struct File {
    descriptor: &'static [u8],
    imports: Vec<&'static str>,
}

/// All of them.
#[derive(Default)]
struct Files {
    by_name: HashMap<&'static str, File>,
    /// Which file holds a message, a field, an enum, one of its values, a service or a method.
    of_symbol: HashMap<String, &'static str>,
}

impl Files {
    fn read(set: &'static [u8]) -> Result<Self, Malformed> {
        let mut files = Self::default();
        let mut reader = Reader::new(set);
        while let Some(field) = reader.next()? {
            if let (1, Value::Bytes(descriptor)) = field {
                files.add(descriptor)?;
            }
        }
        Ok(files)
    }

    /// `FileDescriptorProto`: 1 name, 2 package, 3 dependency, 4 message, 5 enum, 6 service, 7 extension.
    fn add(&mut self, descriptor: &'static [u8]) -> Result<(), Malformed> {
        let name = text(descriptor, 1)?;
        let package = text(descriptor, 2)?;
        let mut imports = Vec::new();
        let mut reader = Reader::new(descriptor);
        while let Some((field, value)) = reader.next()? {
            let Some(bytes) = value.bytes() else { continue };
            match field {
                3 => imports.extend(value.text()),
                4 => self.message(package, bytes, name)?,
                5 => self.enumeration(package, bytes, name)?,
                7 => drop(self.symbol(package, bytes, name)?),
                6 => {
                    let service = self.symbol(package, bytes, name)?;
                    self.members(&service, bytes, 2, name)?;
                }
                _ => {}
            }
        }
        self.by_name.insert(name, File { descriptor, imports });
        Ok(())
    }

    /// `DescriptorProto`: 1 name, 2 field, 3 nested message, 4 nested enum, 8 `oneof`.
    fn message(&mut self, scope: &str, message: &'static [u8], file: &'static str) -> Result<(), Malformed> {
        let name = self.symbol(scope, message, file)?;
        // Fields and `oneof`s, as the servers of other languages find them.
        for number in [2, 8] {
            self.members(&name, message, number, file)?;
        }
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next()? {
            match field {
                (3, Value::Bytes(nested)) => self.message(&name, nested, file)?,
                (4, Value::Bytes(nested)) => self.enumeration(&name, nested, file)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `EnumDescriptorProto`: 1 name, 2 value. Values stand beside their enum and not within it, as in C++.
    fn enumeration(&mut self, scope: &str, of: &'static [u8], file: &'static str) -> Result<(), Malformed> {
        self.symbol(scope, of, file)?;
        self.members(scope, of, 2, file)
    }

    fn members(&mut self, scope: &str, of: &'static [u8], number: u32, file: &'static str) -> Result<(), Malformed> {
        let mut reader = Reader::new(of);
        while let Some((field, value)) = reader.next()? {
            if let (true, Value::Bytes(member)) = (field == number, value) {
                self.symbol(scope, member, file)?;
            }
        }
        Ok(())
    }

    /// Whatever has its name in field 1.
    fn symbol(&mut self, scope: &str, of: &'static [u8], file: &'static str) -> Result<String, Malformed> {
        let name = text(of, 1)?;
        let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.of_symbol.insert(full.clone(), file);
        Ok(full)
    }

    /// A file and all that it imports, each once, the file first.
    fn with_imports(&self, name: &str) -> Vec<&'static [u8]> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if let Some(file) = self.by_name.get(name)
                && seen.insert(name)
            {
                found.push(file.descriptor);
                open.extend(file.imports.iter().copied());
            }
        }
        found
    }
}

/// The text in a field; empty when it is not there.
fn text(message: &'static [u8], number: u32) -> Result<&'static str, Malformed> {
    let mut found = "";
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next()? {
        if field == number {
            found = value.text().unwrap_or_default();
        }
    }
    Ok(found)
}

/// Answers requests until the client has asked all, or nothing for as long as a connection may be idle: a tool asks at
/// once, and who asks no more would keep its connection for nothing.
pub(super) async fn run(origin: Origin<'_>, stream: &mut Stream<'_>) -> Outcome<()> {
    let core = origin.core;
    let (mut stage, mut connection) = (core.stage.watch(), local::keyless_watch(origin)?);
    let idle = Duration::from_millis(core.shared.options.idle_timeout_ms);
    let mut quiet = core.timers.after(idle);
    let gone = |_| Failure::new(Kind::ClientGone, "the client left");
    stream.begin().map_err(gone)?;
    loop {
        let message = tokio::select! {
            biased;
            message = stream.next(KEYLESS) => message,
            () = stage.reached(Stage::Draining) => break,
            () = connection.reached(Stage::Draining) => break,
            () = quiet.wait() => break,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => break,
            // The longest pause within a body is not the longest between two questions.
            Err(BodyError::Timeout) => continue,
            Err(e) => return Err(phases::body_failure(e, KEYLESS)),
        };
        let malformed = |e| Failure::new(Kind::BadRequest, format!("The request message is malformed: {e}."));
        let answer = answer(&message, &FILES).map_err(malformed)?;
        let mut messages = Messages::default();
        messages.put(&answer);
        stream.send(&mut messages).await.map_err(gone)?;
        quiet.move_to(Instant::now() + idle);
    }
    stream.close(&Status::OK, HeaderLines::default()).await.map_err(gone)
}

/// `ServerReflectionRequest`: 1 host, 3 file by name, 4 file by symbol, 5 file by extension, 6 extensions of a type,
/// 7 services. `ServerReflectionResponse`: 1 host, 2 the request, 4 files, 5 extensions, 6 services, 7 an error.
fn answer(request: &[u8], files: &Files) -> Result<Bytes, Malformed> {
    let mut out = BytesMut::new();
    let (mut host, mut asked) = (&[][..], None);
    let mut reader = Reader::new(request);
    while let Some(field) = reader.next()? {
        match field {
            (1, Value::Bytes(bytes)) => host = bytes,
            (number @ 3..=7, Value::Bytes(bytes)) => asked = Some((number, bytes)),
            _ => {}
        }
    }
    wire::put_bytes(&mut out, 1, host);
    wire::put_bytes(&mut out, 2, request);
    let (number, bytes) = asked.unwrap_or_default();
    let name = std::str::from_utf8(bytes).unwrap_or_default();
    match number {
        3 => put_files(&mut out, files, name, name),
        4 => {
            let file = files.of_symbol.get(name.trim_start_matches('.')).copied().unwrap_or_default();
            put_files(&mut out, files, file, name);
        }
        5 => put_error(&mut out, Code::NotFound, "There are no extensions here."),
        6 if files.of_symbol.contains_key(name) => {
            wire::put_message(&mut out, 5, |out| wire::put_bytes(out, 1, name.as_bytes()));
        }
        6 => put_error(&mut out, Code::NotFound, "There is no such type here."),
        7 => wire::put_message(&mut out, 6, |out| {
            for service in method::services(true) {
                wire::put_message(out, 1, |out| wire::put_bytes(out, 1, service.as_bytes()));
            }
        }),
        _ => put_error(&mut out, Code::InvalidArgument, "The request asks for nothing that is known here."),
    }
    Ok(out.freeze())
}

fn put_files(out: &mut BytesMut, files: &Files, file: &str, asked: &str) {
    let found = files.with_imports(file);
    if found.is_empty() {
        let shown = asked.get(..asked.floor_char_boundary(128)).unwrap_or_default();
        return put_error(out, Code::NotFound, &format!("Nothing here is called `{shown}`."));
    }
    wire::put_message(out, 4, |out| found.iter().for_each(|descriptor| wire::put_bytes(out, 1, descriptor)));
}

fn put_error(out: &mut BytesMut, code: Code, message: &str) {
    wire::put_message(out, 7, |out| {
        wire::put_uint(out, 1, code as u64);
        wire::put_bytes(out, 2, message.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_that_is_listed_can_be_described() {
        for service in method::services(true) {
            let file = FILES.of_symbol.get(service).unwrap_or_else(|| panic!("{service}"));
            assert!(!FILES.with_imports(file).is_empty());
        }
        let file = FILES.of_symbol.get("penstock.v1.Chat.Create").unwrap();
        assert_eq!(*file, "penstock/v1/chat.proto");
        let files = FILES.with_imports(file);
        let names: Vec<&str> = files.iter().map(|f| text(f, 1).unwrap()).collect();
        assert!(names.contains(&"google/protobuf/struct.proto"), "{names:?}");
    }

    #[test]
    fn a_name_that_is_not_there_is_an_error_in_the_answer() {
        let mut request = BytesMut::new();
        wire::put_bytes(&mut request, 4, b"no.Such");
        let answer = answer(&request, &FILES).unwrap();
        let fields: Vec<u32> = {
            let mut reader = Reader::new(&answer);
            std::iter::from_fn(|| reader.next().unwrap()).map(|(n, _)| n).collect()
        };
        assert!(fields.contains(&7), "{fields:?}");
    }
}
