//! Which files an ONNX graph keeps weights in besides its own: "external data", which graphs over 2 GiB
//! must have. Read from the graph's own words, as nothing else says which of the files beside it matter.
//!
//! This reads the protobuf wire format itself and skips over what it does not need: weights inside of
//! the file, gigabytes perhaps, are not read.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek},
    path::{Component, Path, PathBuf},
};

/// How deep messages may lie in each other; protobuf's own limit.
const DEPTH: usize = 100;
/// Bytes of a file's name.
const NAME: u64 = 4096;

/// The messages of onnx.proto that lead to external data.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Tensor,
    SparseTensor,
}

impl Message {
    /// What a field of this message holds, if it leads on.
    fn field(self, number: u64) -> Option<Message> {
        Some(match (self, number) {
            (Self::Model, 7) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) => Self::Tensor,
            (Self::Graph, 15) => Self::SparseTensor,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 5 | 10) => Self::Tensor,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Function, 7) => Self::Node,
            (Self::Function, 11) => Self::Attribute,
            (Self::Training, 1 | 2) => Self::Graph,
            (Self::SparseTensor, 1 | 2) => Self::Tensor,
            _ => return None,
        })
    }
}

/// A tensor's list of keys and values about its external data, and the key that names the file.
const EXTERNAL_DATA: u64 = 13;
const LOCATION: &[u8] = b"location";
/// Where a tensor's data is, and the value that says: in another file.
const DATA_LOCATION: u64 = 14;
const EXTERNAL: u64 = 1;

/// The files that an ONNX graph names, in the order of their names. Fails where the file cannot be
/// read, is no protobuf message, or names files outside of its folder.
pub fn external(graph: &Path) -> io::Result<Vec<PathBuf>> {
    let file = File::open(graph)?;
    let length = file.metadata()?.len();
    let mut wire = Wire { file: BufReader::new(file), at: 0, names: BTreeSet::new() };
    wire.message(Message::Model, length, 0)?;
    let folder = graph.parent().unwrap_or(Path::new(""));
    let inside = |name: String| {
        let relative = PathBuf::from(name);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        match relative.components().all(plain) {
            true => Ok(folder.join(relative)),
            false => Err(invalid("it names external data outside of its folder")),
        }
    };
    wire.names.into_iter().map(inside).collect()
}

struct Wire<R> {
    file: R,
    /// Where in the file.
    at: u64,
    /// Of the files named so far.
    names: BTreeSet<String>,
}

/// A field's number and what follows.
struct Field {
    number: u64,
    value: Value,
}

enum Value {
    Number(u64),
    /// So many bytes follow.
    Bytes(u64),
}

impl<R: BufRead + Seek> Wire<R> {
    /// Reads a message that ends at `end`.
    fn message(&mut self, message: Message, end: u64, depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(invalid("its messages lie too deep in each other"));
        }
        let (mut location, mut is_external) = (None, false);
        while self.at < end {
            let Field { number, value } = self.field(end)?;
            match value {
                Value::Bytes(length) => {
                    let inner = self.at + length;
                    match (message, message.field(number)) {
                        (_, Some(leads_on)) => self.message(leads_on, inner, depth + 1)?,
                        (Message::Tensor, _) if number == EXTERNAL_DATA => {
                            location = self.location(inner)?.or(location);
                        }
                        _ => self.skip(length)?,
                    }
                }
                Value::Number(value) => {
                    is_external |= matches!(message, Message::Tensor)
                        && number == DATA_LOCATION
                        && value == EXTERNAL;
                }
            }
        }
        if is_external {
            self.names.extend(location);
        }
        Ok(())
    }

    /// The file's name, if this entry about external data holds it: a key and a value.
    fn location(&mut self, end: u64) -> io::Result<Option<String>> {
        let (mut key, mut text) = (Vec::new(), Vec::new());
        while self.at < end {
            match self.field(end)? {
                Field { number: 1, value: Value::Bytes(length) } => key = self.bytes(length)?,
                Field { number: 2, value: Value::Bytes(length) } => text = self.bytes(length)?,
                Field { value: Value::Bytes(length), .. } => self.skip(length)?,
                Field { value: Value::Number(_), .. } => {}
            }
        }
        if key != LOCATION {
            return Ok(None);
        }
        String::from_utf8(text).map(Some).map_err(|_| invalid("a file's name is not UTF-8"))
    }

    /// The next field. Numbers are read; what is longer follows, and ends before `end`.
    fn field(&mut self, end: u64) -> io::Result<Field> {
        let key = self.varint()?;
        let number = key >> 3;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8).map(|()| Value::Number(0))?,
            2 => Value::Bytes(self.varint()?),
            5 => self.skip(4).map(|()| Value::Number(0))?,
            _ => return Err(invalid("it is no protobuf message")),
        };
        let length = if let Value::Bytes(length) = value { length } else { 0 };
        match self.at.checked_add(length) {
            Some(last) if last <= end => Ok(Field { number, value }),
            _ => Err(invalid("it ends early")),
        }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(invalid("it is no protobuf message"))
    }

    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > NAME {
            return Err(invalid("a file's name is too long"));
        }
        let mut bytes = Vec::new();
        self.file.by_ref().take(length).read_to_end(&mut bytes)?;
        self.at += length;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let step = i64::try_from(length).map_err(|_| invalid("it ends early"))?;
        self.file.seek_relative(step)?;
        self.at += length;
        Ok(())
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = varint(u64::from(number) << 3 | 2);
        field.extend(varint(bytes.len() as u64));
        field.extend(bytes);
        field
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// A tensor that is kept in a file.
    fn tensor(file: &str) -> Vec<u8> {
        let entry = |key: &str, value: &str| {
            field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
        };
        [field(8, b"name"), entry("offset", "0"), entry("location", file), vec![14 << 3, 1]]
            .concat()
    }

    fn named(model: &[u8]) -> io::Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let graph = folder.path().join("model.onnx");
        fs::write(&graph, model).unwrap();
        let names = external(&graph)?.into_iter();
        Ok(names
            .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
            .collect())
    }

    fn model(graph: &[Vec<u8>]) -> Vec<u8> {
        [vec![8, 9], field(7, &graph.concat())].concat()
    }

    #[test]
    fn files_are_found_wherever_tensors_are() {
        let inside = field(5, &[field(8, b"small"), field(9, &[7; 100_000])].concat());
        let initializer = field(5, &tensor("weights.bin"));
        let branch = field(5, &field(6, &field(5, &tensor("sub/branch.bin"))));
        let constant = field(5, &field(5, &tensor("constant.bin")));
        let nodes = field(1, &[branch, constant].concat());
        let sparse = field(15, &field(1, &tensor("sparse.bin")));
        let again = field(5, &tensor("weights.bin"));
        let graph = model(&[inside, initializer, nodes, sparse, again]);
        let wanted = ["constant.bin", "sparse.bin", "sub/branch.bin", "weights.bin"];
        assert_eq!(named(&graph).unwrap(), wanted);
    }

    #[test]
    fn what_only_speaks_of_a_file_is_none() {
        // Without data_location the tensor's data is inside.
        let spoken_of = tensor("weights.bin");
        let graph = model(&[field(5, &spoken_of[..spoken_of.len() - 2])]);
        assert!(named(&graph).unwrap().is_empty());
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/graphs/rows.onnx");
        assert!(external(&real).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_graph_is_an_error() {
        let whole = model(&[field(5, &tensor("weights.bin"))]);
        for length in [whole.len() - 1, whole.len() / 2, 5] {
            assert!(named(&whole[..length]).is_err(), "{length}");
        }
        assert!(named(&[0xff; 100]).is_err());
        // A length of nearly 2^64, and messages in messages.
        assert!(named(&[vec![7 << 3 | 2], varint(u64::MAX - 3)].concat()).is_err());
        let mut deep = vec![];
        for _ in 0..200 {
            deep = field(1, &field(5, &field(6, &deep)));
        }
        assert!(named(&field(7, &deep)).is_err());
        for outside in ["../other/weights.bin", "/etc/passwd", "a/../../b"] {
            assert!(named(&model(&[field(5, &tensor(outside))])).is_err(), "{outside}");
        }
    }
}
