//! The `messages` of a chat: what they need, and what of them a dialect may change.

use std::ops::Range;

use super::needs_reader::NeedsReader;
use crate::json::{Event, JsonError, Member, Reader, Value};

/// Members of a message that a dialect may leave out: one service adds them to a message, and another refuses them when
/// they are sent back, or does not know them. The conversation is the same without them.
pub(crate) const MESSAGE_FIELDS: [&str; 8] = [
    "name",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "annotations",
    "audio",
    "images",
];

/// How many possible changes of messages are kept. The rest of the messages stays as it is, for the upstream to refuse
/// if it must. Each costs 40 bytes as long as the request lives, so all of them 0.7 MB.
pub(crate) const MAX_MESSAGE_EDITS: usize = 16_384;

/// What a dialect may change in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageEdit {
    /// A member, one of [`MESSAGE_FIELDS`].
    Field(&'static str),
    /// The role `developer`.
    DeveloperRole,
    /// A content that is null.
    NullContent,
}

/// The possible changes of messages, and the spans of what they change, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessageEdits(pub(crate) Vec<(MessageEdit, Range<usize>)>);

impl MessageEdits {
    /// Reads the value of `messages` to its end.
    pub(crate) fn read<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        messages: Value<'a>,
        needs: &mut NeedsReader,
    ) -> Result<(), JsonError> {
        reader.elements(messages.first, |reader, message| {
            reader.members(message.first, |reader, member| {
                self.member(reader, member, needs)
            })
        })?;
        needs.needs.prompt.read(messages.start..reader.at());
        Ok(())
    }

    #[inline(always)]
    fn member<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        Member { name, key, value }: Member<'a>,
        needs: &mut NeedsReader,
    ) -> Result<(), JsonError> {
        let name = name.name_bytes();
        // Not a `match`, which would compare byte by byte.
        let is = |known: &str| *name == *known.as_bytes();
        if is("role") {
            if matches!(value.first, Event::Text(role) if role.is("developer")) {
                self.push(MessageEdit::DeveloperRole, value.start..reader.at());
            }
        } else if is("content") {
            match value.first {
                Event::Null => self.push(MessageEdit::NullContent, value.start..reader.at()),
                first => needs.content(reader, first)?,
            }
        } else if !is("tool_calls") && !is("function_call") {
            reader.skip(value.first)?;
            self.other(&name, [key.start, value.start, reader.at()], needs);
        }
        Ok(())
    }

    /// Notes a member that most messages do not have: where it starts, where its value does, and where it ends.
    #[inline(never)]
    fn other(&mut self, name: &[u8], [start, value, end]: [usize; 3], needs: &mut NeedsReader) {
        if !matches!(name, b"name" | b"refusal") {
            needs.needs.prompt.leave_out(value..end);
        }
        let mut known = MESSAGE_FIELDS.into_iter();
        if let Some(field) = known.find(|known| known.as_bytes() == name) {
            self.push(MessageEdit::Field(field), start..end);
        }
    }

    fn push(&mut self, edit: MessageEdit, span: Range<usize>) {
        if self.0.len() < MAX_MESSAGE_EDITS {
            self.0.push((edit, span));
        }
    }
}
