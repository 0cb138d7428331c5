//! Parts of a message: text, images, documents.

use super::json::Json;
use super::read::{self, Value, bad, each, text, within};
use super::request::refused;
use crate::errors::Outcome;

const DETAILS: [&str; 3] = ["auto", "low", "high"];

/// How the base64 form of an image begins, and its media type: xAI takes images without the head of a data URL.
const BARE: [(&str, &str); 4] = [
    ("/9j/", "data:image/jpeg;base64,"),
    ("iVBORw0KGgo", "data:image/png;base64,"),
    ("R0lGOD", "data:image/gif;base64,"),
    ("UklGR", "data:image/webp;base64,"),
];

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Image(Image<'a>),
    File(File<'a>),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image<'a> {
    url: &'a str,
    detail: Option<&'static str>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct File<'a> {
    file_id: &'a str,
    data: &'a [u8],
    filename: &'a str,
    mime_type: &'a str,
}

/// A `Content`; of a oneof that was set several times the last counts.
pub(super) fn read(message: &[u8]) -> Outcome<Part<'_>> {
    let mut part = None;
    each(message, |number, value| {
        let Value::Bytes(bytes) = value else { return Ok(()) };
        match number {
            1 => part = Some(Part::Text(text("text", bytes)?)),
            2 => {
                let mut image = match part.take() {
                    Some(Part::Image(image)) => image,
                    _ => Image::default(),
                };
                within(|| "image_url", image.read(bytes))?;
                part = Some(Part::Image(image));
            }
            3 => {
                let mut file = match part.take() {
                    Some(Part::File(file)) => file,
                    _ => File::default(),
                };
                within(|| "file", file.read(bytes))?;
                part = Some(Part::File(file));
            }
            _ => {}
        }
        Ok(())
    })?;
    part.ok_or_else(|| bad("text", "or image_url or file must be set"))
}

impl<'a> Image<'a> {
    fn read(&mut self, message: &'a [u8]) -> Outcome<()> {
        each(message, |number, value| {
            match (number, value) {
                (1, Value::Bytes(bytes)) => self.url = text("image_url", bytes)?,
                (2, Value::Varint(bits)) => self.detail = read::word("detail", bits, &DETAILS)?,
                (3, Value::Bytes(bytes)) if !bytes.is_empty() => {
                    return Err(refused("file_id", "files uploaded to xAI are not reached; send image_url"));
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn write(&self, json: &mut Json) -> Outcome<()> {
        if self.url.is_empty() {
            return Err(bad("image_url.image_url", "must be set"));
        }
        json.text("type", "image_url");
        json.key("image_url");
        json.open(b'{');
        match BARE.iter().find(|(head, _)| self.url.starts_with(head)) {
            Some((_, prefix)) => json.text("url", &[prefix, self.url].concat()),
            None => json.text("url", self.url),
        }
        json.text_if_any("detail", self.detail.unwrap_or_default());
        json.close(b'}');
        Ok(())
    }
}

impl<'a> File<'a> {
    fn read(&mut self, message: &'a [u8]) -> Outcome<()> {
        each(message, |number, value| {
            match (number, value) {
                (1, Value::Bytes(bytes)) => self.file_id = text("file_id", bytes)?,
                (2, Value::Bytes(bytes)) => self.data = bytes,
                (3, Value::Bytes(bytes)) => self.filename = text("filename", bytes)?,
                (4, Value::Bytes(bytes)) => self.mime_type = text("mime_type", bytes)?,
                (5, Value::Bytes(bytes)) if !bytes.is_empty() => {
                    return Err(refused("url", "documents by URL have no place in OpenAI's API; send data"));
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn write(&self, json: &mut Json) -> Outcome<()> {
        json.text("type", "file");
        json.key("file");
        json.open(b'{');
        match (self.file_id.is_empty(), self.data.is_empty()) {
            (false, true) => json.text("file_id", self.file_id),
            (true, false) => {
                let prefix = format!("data:{};base64,", self.media_type()?);
                json.key("file_data");
                json.base64(&prefix, self.data);
            }
            _ => return Err(bad("file", "needs one of file_id and data")),
        }
        json.text_if_any("filename", self.filename);
        json.close(b'}');
        Ok(())
    }

    /// As told; else by the name of the file or its first bytes.
    fn media_type(&self) -> Outcome<&'a str> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.+-_".contains(&byte);
        if !self.mime_type.is_empty() {
            let valid = self.mime_type.bytes().all(is_plain);
            return if valid { Ok(self.mime_type) } else { Err(bad("file.mime_type", "is no media type")) };
        }
        let extension = self.filename.rsplit_once('.').map_or("", |(_, extension)| extension);
        let by_name = [("pdf", "application/pdf"), ("txt", "text/plain"), ("md", "text/markdown")];
        let by_name = by_name.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind);
        if let Some(kind) = by_name {
            return Ok(kind);
        }
        if self.data.starts_with(b"%PDF-") {
            return Ok("application/pdf");
        }
        Err(bad("file.mime_type", "is needed for this file"))
    }
}

impl Part<'_> {
    /// Writes the part as an element of `content`.
    pub(super) fn write(&self, json: &mut Json) -> Outcome<()> {
        json.open(b'{');
        match self {
            Self::Text(text) => {
                json.text("type", "text");
                json.text("text", text);
            }
            Self::Image(image) => image.write(json)?,
            Self::File(file) => file.write(json)?,
        }
        json.close(b'}');
        Ok(())
    }
}
