//! Values and pickles to bytes: protocol 4, without frames, and nothing memoized of our own.
//!
//! `bytearray` alone uses an opcode of protocol 5, which every Python from 3.8 on reads.

use super::index::{FixupKind, Index};
use super::op;
use crate::error::{Error, Result};
use crate::exception::Exception;
use crate::limits::{DEEPEST, Limits};
use crate::pickle::Pickle;
use crate::value::Value;

/// Appends pickled objects to a buffer.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
    /// The puts so far: the first key that a spliced pickle may use.
    memo: u32,
    /// How much deeper values may nest.
    depth: usize,
    /// How long the buffer may become.
    most: usize,
    /// What could not be written: the buffer is of no use then.
    failed: Option<Error>,
}

impl Default for Writer {
    fn default() -> Self {
        let (out, depth, most) = (Vec::new(), usize::MAX, usize::MAX);
        Self { out, memo: 0, depth, most, failed: None }
    }
}

impl Writer {
    /// Begins a whole pickle at the end of `out`.
    pub(crate) fn append_to(mut out: Vec<u8>) -> Self {
        out.extend([op::PROTO, 4]);
        // What is kept is less deep; a reply adds a little.
        Self { out, depth: 2 * DEEPEST, ..Self::default() }
    }

    /// Ends a whole pickle that [`Writer::append_to`] began.
    pub(crate) fn into_buffer(mut self) -> (Vec<u8>, Result<()>) {
        self.out.push(op::STOP);
        (self.out, self.failed.map_or(Ok(()), Err))
    }

    /// The pickle of a value that is to be kept, and to be opened some day.
    pub(super) fn encode(value: &Value) -> Result<Pickle> {
        let mut writer = Self { most: u32::MAX as usize, ..Self::default() };
        writer.value(value);
        writer.into_result()
    }

    /// The object written, unless something could not be written.
    pub(super) fn into_result(mut self) -> Result<Pickle> {
        if self.out.len() > self.most {
            self.fail(too_long());
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.into_pickle()),
        }
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// The bytes of the buffer so far.
    pub(crate) fn position(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn into_pickle(self) -> Pickle {
        Pickle::from_vec(self.out, self.memo)
    }

    /// Splices a pickle in. Its memo keys count from 0: they are shifted past those in use.
    pub(crate) fn pickle(&mut self, pickle: &Pickle) {
        let ops = pickle.ops();
        if self.memo == 0 || pickle.memo() == 0 {
            self.out.extend_from_slice(ops);
        } else {
            self.shifted(ops);
        }
        match self.memo.checked_add(pickle.memo()) {
            Some(memo) => self.memo = memo,
            None => self.fail(Error::conversion("more than 2³² objects are memoized")),
        }
    }

    fn shifted(&mut self, ops: &[u8]) {
        let mut index = Index::default();
        let mut at = 0;
        // It was indexed when it was made, so it can be now.
        if index.object(ops, &Limits::NONE).is_ok() {
            for fixup in &index.fixups {
                if let FixupKind::Get(number) = fixup.kind {
                    let next = fixup.at as usize;
                    self.out.extend_from_slice(ops.get(at..next).unwrap_or_default());
                    get(&mut self.out, self.memo + number);
                    at = fixup.end as usize;
                }
            }
        }
        self.out.extend_from_slice(ops.get(at..).unwrap_or_default());
    }

    pub(crate) fn value(&mut self, value: &Value) {
        let Some(depth) = self.depth.checked_sub(1) else {
            let text =
                format!("a value that nests deeper than {} levels cannot be sent", 2 * DEEPEST);
            return self.fail(Error::conversion(text));
        };
        self.depth = depth;
        match value {
            Value::None => self.out.push(op::NONE),
            Value::Bool(true) => self.out.push(op::NEWTRUE),
            Value::Bool(false) => self.out.push(op::NEWFALSE),
            Value::Int(int) => self.int(*int),
            Value::Float(float) => {
                self.out.push(op::BINFLOAT);
                self.out.extend(float.to_be_bytes());
            }
            Value::Str(text) => self.str(text),
            Value::Bytes(bytes) => {
                let codes = [op::SHORT_BINBYTES, op::BINBYTES, op::BINBYTES8];
                self.counted(codes, bytes);
            }
            Value::ByteArray(bytes) => self.counted([op::BYTEARRAY8; 3], bytes),
            Value::Tuple(items) => self.tuple(items.len(), |writer| writer.values(items)),
            Value::List(items) => self.list(items, Self::value),
            Value::Set(items) => {
                self.container(op::EMPTY_SET, op::ADDITEMS, items, Self::value);
            }
            Value::FrozenSet(items) => {
                self.out.push(op::MARK);
                self.values(items);
                self.out.push(op::FROZENSET);
            }
            Value::Dict(items) => {
                let pairs = items.iter().map(|(key, value)| (key, value));
                self.dict(pairs, Self::value, Self::value);
            }
            Value::Opaque(pickle) => self.pickle(pickle),
        }
        self.depth += 1;
    }

    /// `count` objects, which `items` writes, as a tuple.
    pub(crate) fn tuple(&mut self, count: usize, items: impl FnOnce(&mut Self)) {
        let code = match count {
            0 => op::EMPTY_TUPLE,
            1 => op::TUPLE1,
            2 => op::TUPLE2,
            3 => op::TUPLE3,
            _ => op::TUPLE,
        };
        if code == op::TUPLE {
            self.out.push(op::MARK);
        }
        items(self);
        self.out.push(code);
    }

    pub(crate) fn dict<K, V>(
        &mut self,
        items: impl ExactSizeIterator<Item = (K, V)>,
        key: impl Fn(&mut Self, K),
        value: impl Fn(&mut Self, V),
    ) {
        self.out.push(op::EMPTY_DICT);
        if items.len() > 0 {
            self.out.push(op::MARK);
            for item in items {
                key(self, item.0);
                value(self, item.1);
            }
            self.out.push(op::SETITEMS);
        }
    }

    pub(crate) fn str(&mut self, text: &str) {
        let codes = [op::SHORT_BINUNICODE, op::BINUNICODE, op::BINUNICODE8];
        self.counted(codes, text.as_bytes());
    }

    /// A class or function, by name.
    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.str(module);
        self.str(name);
        self.out.push(op::STACK_GLOBAL);
    }

    /// A call of what was written last but one with the tuple written last.
    pub(crate) fn reduce(&mut self) {
        self.out.push(op::REDUCE);
    }

    /// A new object of the class written last but one, made with the tuple written last.
    pub(crate) fn newobj(&mut self) {
        self.out.push(op::NEWOBJ);
    }

    /// Gives the object written last but one the state written last.
    pub(crate) fn build(&mut self) {
        self.out.push(op::BUILD);
    }

    pub(crate) fn exception(&mut self, exception: &Exception) {
        self.global(exception.module(), exception.name());
        self.tuple(exception.args().len(), |writer| writer.values(exception.args()));
        self.reduce();
    }

    pub(crate) fn values(&mut self, values: &[Value]) {
        for value in values {
            self.value(value);
        }
    }

    pub(crate) fn list<T>(&mut self, items: &[T], item: impl Fn(&mut Self, &T)) {
        self.container(op::EMPTY_LIST, op::APPENDS, items, item);
    }

    fn container<T>(&mut self, empty: u8, fill: u8, items: &[T], item: impl Fn(&mut Self, &T)) {
        self.out.push(empty);
        if !items.is_empty() {
            self.out.push(op::MARK);
            for each in items {
                item(self, each);
            }
            self.out.push(fill);
        }
    }

    fn int(&mut self, int: i128) {
        if let Ok(byte) = u8::try_from(int) {
            self.out.extend([op::BININT1, byte]);
        } else if let Ok(short) = u16::try_from(int) {
            self.out.push(op::BININT2);
            self.out.extend(short.to_le_bytes());
        } else if let Ok(word) = i32::try_from(int) {
            self.out.push(op::BININT);
            self.out.extend(word.to_le_bytes());
        } else {
            // Those beyond the significant bits and a sign would only repeat the sign.
            let unsigned = if int < 0 { !int } else { int };
            let length = (128 - unsigned.leading_zeros() as usize) / 8 + 1;
            let bytes = int.to_le_bytes();
            self.long(bytes.get(..length).unwrap_or(&bytes));
        }
    }

    /// An integer in two's complement, little-endian.
    pub(super) fn long(&mut self, bytes: &[u8]) {
        if let Ok(length) = u8::try_from(bytes.len()) {
            self.out.extend([op::LONG1, length]);
        } else if let Ok(length) = i32::try_from(bytes.len()) {
            self.out.push(op::LONG4);
            self.out.extend(length.to_le_bytes());
        } else {
            let text = "an int of 2 GiB or more cannot be pickled".to_owned();
            return self.fail(Error::conversion(text));
        }
        self.out.extend_from_slice(bytes);
    }

    /// Bytes behind their length, in the shortest of three forms.
    fn counted(&mut self, [short, long, longest]: [u8; 3], bytes: &[u8]) {
        if self.out.len().saturating_add(bytes.len()) > self.most {
            return self.fail(too_long());
        }
        match (u8::try_from(bytes.len()), u32::try_from(bytes.len())) {
            (Ok(length), _) if short != longest => self.out.extend([short, length]),
            (_, Ok(length)) if long != longest => {
                self.out.push(long);
                self.out.extend(length.to_le_bytes());
            }
            _ => {
                self.out.push(longest);
                self.out.extend((bytes.len() as u64).to_le_bytes());
            }
        }
        self.out.extend_from_slice(bytes);
    }
}

fn too_long() -> Error {
    Error::conversion("a value of more than 4 GiB − 1 pickled cannot be kept")
}

/// Appends a memo reference.
pub(super) fn get(out: &mut Vec<u8>, key: u32) {
    if let Ok(short) = u8::try_from(key) {
        out.extend([op::BINGET, short]);
    } else {
        out.push(op::LONG_BINGET);
        out.extend(key.to_le_bytes());
    }
}
