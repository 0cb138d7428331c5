//! `/v1/files`: uploads kept in bounded memory.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::call::{Call, Early};
use crate::json::quoted;
use crate::multipart;
use crate::reply::{Answer, Refusal, Unary};
use crate::server::lock;

const MAX_FILES: usize = 256;
const MAX_BYTES: usize = 64 << 20;

/// What is done with files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileAction {
    List,
    Upload,
    Get(String),
    Content(String),
    Delete(String),
}

#[derive(Debug)]
struct File {
    id: String,
    name: String,
    purpose: String,
    created: u64,
    data: Bytes,
}

impl File {
    fn json(&self) -> String {
        format!(
            r#"{{"id":"{}","object":"file","bytes":{},"created_at":{},"filename":{},"purpose":{},"status":"processed","expires_at":null,"status_details":null}}"#,
            self.id,
            self.data.len(),
            self.created,
            quoted(&self.name),
            quoted(&self.purpose)
        )
    }
}

/// The uploads, oldest first; the oldest go when there are too many.
#[derive(Debug, Default)]
pub(crate) struct Files {
    all: VecDeque<File>,
    bytes: usize,
}

impl Files {
    fn add(&mut self, file: File) {
        self.bytes += file.data.len();
        self.all.push_back(file);
        while self.all.len() > MAX_FILES || self.bytes > MAX_BYTES {
            let Some(gone) = self.all.pop_front() else { break };
            self.bytes -= gone.data.len();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(crate) fn answer(call: &mut Call<'_>, action: FileAction) -> Result<Answer, Early> {
    call.gate()?;
    let mut files = lock(&call.shared.files);
    let missing = |id: &str| Refusal { param: Some("id"), ..Refusal::new(404, format!("No such File object: {id}")) };
    let json = |body: String| Ok(Answer::Unary(Unary::json(body)));
    match action {
        FileAction::List => {
            let all: Vec<String> = files.all.iter().rev().map(File::json).collect();
            json(format!(r#"{{"object":"list","data":[{}],"has_more":false}}"#, all.join(",")))
        }
        FileAction::Upload => {
            let content_type = call.head.headers.get_str("content-type").unwrap_or_default();
            let parts = multipart::parse(content_type, call.body)
                .ok_or_else(|| Refusal::invalid("the body must be multipart/form-data"))?;
            let file = parts.iter().find(|p| p.name == "file").ok_or_else(|| Refusal::missing("file"))?;
            if file.data.len() > MAX_BYTES {
                return Err(Refusal::new(413, "the file is too large").into());
            }
            let file = File {
                id: format!("file-sim{:016}", call.seq),
                name: file.filename.clone().unwrap_or_default(),
                purpose: multipart::text(&parts, "purpose").unwrap_or("assistants").to_owned(),
                created: call.created,
                data: Bytes::copy_from_slice(file.data),
            };
            let body = file.json();
            files.add(file);
            json(body)
        }
        FileAction::Get(id) => {
            let file = files.all.iter().find(|f| f.id == id).ok_or_else(|| missing(&id))?;
            json(file.json())
        }
        FileAction::Content(id) => {
            let file = files.all.iter().find(|f| f.id == id).ok_or_else(|| missing(&id))?;
            Ok(Answer::Unary(Unary::new(200, "application/octet-stream", file.data.clone())))
        }
        FileAction::Delete(id) => {
            let at = files.all.iter().position(|f| f.id == id).ok_or_else(|| missing(&id))?;
            if let Some(gone) = files.all.remove(at) {
                files.bytes -= gone.data.len();
            }
            json(format!(r#"{{"id":{},"object":"file","deleted":true}}"#, quoted(&id)))
        }
    }
}
