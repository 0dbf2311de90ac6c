//! The compiled schema, read; and encodings made from it without the generated code.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const PACKAGE: &str = ".sillok.v1.";

/// The messages and enums of `record.proto`, by name.
pub(crate) struct Schema {
    pub(crate) messages: BTreeMap<String, DescriptorProto>,
    pub(crate) enums: BTreeMap<String, EnumDescriptorProto>,
}

impl Schema {
    pub(crate) fn record() -> &'static Self {
        static RECORD: LazyLock<Schema> = LazyLock::new(Schema::read);
        &RECORD
    }

    fn read() -> Self {
        let files = FileDescriptorSet::decode(sillok_proto::DESCRIPTORS).unwrap();
        let file =
            files.file.into_iter().find(|file| file.name() == "sillok/v1/record.proto").unwrap();
        assert_eq!(file.syntax(), "proto3");
        assert!(file.dependency.is_empty(), "what is law stands in one file");
        Self {
            messages: file
                .message_type
                .into_iter()
                .map(|one| (one.name().to_owned(), one))
                .collect(),
            enums: file.enum_type.into_iter().map(|one| (one.name().to_owned(), one)).collect(),
        }
    }

    pub(crate) fn message(&self, name: &str) -> &DescriptorProto {
        let name = name.strip_prefix(PACKAGE).unwrap_or(name);
        self.messages.get(name).unwrap_or_else(|| panic!("{name} is not a message of the record"))
    }

    /// The canonical encoding of a message whose fields `source` chooses.
    pub(crate) fn encoding(&self, name: &str, source: &mut Source) -> Vec<u8> {
        let message = self.message(name);
        let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
        fields.sort_by_key(|field| field.number());
        let mut out = Vec::new();
        // Of a `oneof` one field at the most; the record has one alone, in a message with nothing else.
        if !message.oneof_decl.is_empty() {
            let chosen = source.below(fields.len() + 1);
            fields = fields.into_iter().skip(chosen).take(1).collect();
        }
        for field in fields {
            let count = if field.label() == Label::Repeated { source.below(4) } else { 1 };
            if field.label() == Label::Repeated
                && matches!(field.r#type(), Type::Enum | Type::Uint32)
            {
                let packed: Vec<u8> =
                    (0..count).flat_map(|_| varint(source.number().into())).collect();
                if !packed.is_empty() {
                    put(&mut out, field, &packed);
                }
                continue;
            }
            for _ in 0..count {
                self.put_field(&mut out, field, source);
            }
        }
        out
    }

    fn put_field(&self, out: &mut Vec<u8>, field: &FieldDescriptorProto, source: &mut Source) {
        let repeated = field.label() == Label::Repeated;
        match field.r#type() {
            Type::Message => {
                if repeated || source.below(4) > 0 {
                    let inner = self.encoding(field.type_name(), source);
                    put(out, field, &inner);
                }
            }
            Type::Bytes | Type::String => {
                let content = source.text();
                if repeated || !content.is_empty() {
                    put(out, field, &content);
                }
            }
            Type::Uint32 | Type::Enum | Type::Uint64 | Type::Bool => {
                let value = match field.r#type() {
                    Type::Uint64 => source.long(),
                    Type::Bool => u64::from(source.below(2) == 1),
                    _ => source.number().into(),
                };
                if value != 0 {
                    out.extend(varint(u64::try_from(field.number()).unwrap() << 3));
                    out.extend(varint(value));
                }
            }
            other => panic!("{other:?} is no type of the record"),
        }
    }
}

fn put(out: &mut Vec<u8>, field: &FieldDescriptorProto, content: &[u8]) {
    out.extend(varint((u64::try_from(field.number()).unwrap() << 3) | 2));
    out.extend(varint(content.len() as u64));
    out.extend(content);
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
    out
}

/// Choices, drawn from bytes; zero once they are used up, so that everything ends.
pub(crate) struct Source(std::vec::IntoIter<u8>);

impl Source {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into_iter())
    }

    fn byte(&mut self) -> u8 {
        self.0.next().unwrap_or_default()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Small numbers most of the time, and all sizes of varint. Never above `i32::MAX`, for it may be an enum.
    fn number(&mut self) -> u32 {
        let bits = [0, 1, 3, 7, 8, 14, 21, 31][self.below(8)];
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]) & ((1 << bits) - 1)
    }

    fn long(&mut self) -> u64 {
        (u64::from(self.number()) << [0, 20, 33][self.below(3)]) | u64::from(self.number())
    }

    fn text(&mut self) -> Vec<u8> {
        let length = [0, 1, 32, 33, 64, 127, 128, 200][self.below(8)];
        let letter = self.byte() & 0x7f;
        vec![letter; length]
    }
}

/// The top-level fields of an encoding: number and bytes, tag included.
pub(crate) fn split(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn read(bytes: &[u8], at: &mut usize) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let tag = read(bytes, &mut at);
        let value = read(bytes, &mut at);
        if tag & 7 == 2 {
            at += usize::try_from(value).unwrap();
        }
        fields.push((tag >> 3, bytes[start..at].to_vec()));
    }
    fields
}
