//! Simulates `CPython`'s unpickler, and keeps what the guard must know of each object.
//!
//! A slot is a copy of what is known. What can change later is known by a number instead, so that every
//! reference to it shows the change: dicts and tokens.

use super::forms::{self, Name};
use super::slot::{Dict, MAX_DEPTH, Size, Slot, UNKNOWN, value, values};
use super::{Guard, refused, shown};
use crate::error::Result;
use crate::pickle::machine::{Builder, Op, Parts, Span};
use crate::pickle::opcode as op;
use crate::pickle::opcode::{Opcode, number};

/// The newest protocol whose names are those of Python 2.
const OLD_NAMES: u8 = 2;

pub(super) struct Reader<'a> {
    pub(super) guard: &'a Guard,
    pub(super) bytes: &'a [u8],
    memo: Vec<Slot>,
    /// The elements of tuples.
    elements: Vec<Slot>,
    /// The size of each tuple, at its first element.
    sizes: Vec<Size>,
    dicts: Vec<Dict>,
    /// Whether each token has its state.
    tokens: Vec<bool>,
    /// Where the current frame ends.
    frame: usize,
    /// What was wrong where the machine takes no error.
    broken: Option<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(guard: &'a Guard, bytes: &'a [u8]) -> Self {
        let (memo, elements, sizes) = (Vec::new(), Vec::new(), Vec::new());
        let (dicts, tokens) = (Vec::new(), Vec::new());
        Self { guard, bytes, memo, elements, sizes, dicts, tokens, frame: 0, broken: None }
    }

    /// The end of the pickle: checks what only holds for all of it, and returns its object.
    pub(super) fn finish(&self, stack: &[Slot]) -> Result<Slot> {
        if let Some(broken) = self.broken {
            return Err(refused(broken));
        }
        if !self.tokens.iter().all(|built| *built) {
            return Err(refused("a token has no state"));
        }
        let [root] = stack else { return Err(refused("a pickle must make one object")) };
        value(*root)?;
        Ok(*root)
    }

    /// Checks that an object is a request, and not a `create` that makes a shared object of its argument.
    ///
    /// `SyncManager` registers `AsyncResult` and `Iterator` without a callable, for its own use: `create` would share
    /// the argument itself, and let a client call the methods of any value.
    pub(super) fn check_request(&self, root: Slot) -> Result<()> {
        let Some([_, Slot::Str(method), args, _]) = self.tuple(root) else {
            return Err(refused("a request must be a tuple (id, method, args, kwargs)"));
        };
        if self.text(*method) != b"create" {
            return Ok(());
        }
        match self.tuple(*args) {
            Some([Slot::Str(typeid), ..]) => match self.text(*typeid) {
                b"AsyncResult" | b"Iterator" => {
                    Err(refused("clients may not create AsyncResult or Iterator"))
                }
                _ => Ok(()),
            },
            _ => Err(refused("the first argument of create must be a typeid")),
        }
    }

    pub(super) fn text(&self, span: Span) -> &'a [u8] {
        self.bytes.get(span.0 as usize..span.1 as usize).unwrap_or_default()
    }

    /// The elements of a tuple; `None` if it is none, or is not followed.
    pub(super) fn tuple(&self, slot: Slot) -> Option<&[Slot]> {
        let (Slot::Tuple(first, count) | Slot::Names(first, count)) = slot else { return None };
        self.elements.get(first as usize..)?.get(..count as usize)
    }

    /// The arguments of a call of `RebuildProxy`.
    pub(super) fn proxy_args(&self, slot: Slot) -> Option<&[Slot]> {
        match slot {
            Slot::ProxyArgs(first) => self.tuple(Slot::Tuple(first, 4)),
            slot => self.tuple(slot),
        }
    }

    pub(super) fn dict(&mut self, slot: Slot) -> Option<&mut Dict> {
        let Slot::Dict(id) = slot else { return None };
        self.dicts.get_mut(id as usize)
    }

    pub(super) fn is_built(&self, token: u32) -> bool {
        self.tokens.get(token as usize) == Some(&true)
    }

    pub(super) fn new_token(&mut self) -> Slot {
        self.tokens.push(false);
        Slot::Token(index(self.tokens.len() - 1))
    }

    /// A token gets its state, once.
    fn build_token(&mut self, token: u32, state: Slot) -> Result<()> {
        forms::check_token_state(self, state)?;
        match self.tokens.get_mut(token as usize) {
            Some(built @ false) => *built = true,
            _ => return Err(refused("the state of a token is set twice")),
        }
        Ok(())
    }

    /// A tuple. It holds values only; but for the arguments of `RebuildProxy`, which begin with a class.
    fn new_tuple(&mut self, parts: &[Slot]) -> Result<Slot> {
        let (first, count) = (index(self.elements.len()), index(parts.len()));
        let tuple = match parts {
            [Slot::Global(Name::ProxyType | Name::AutoProxy), rest @ ..] if rest.len() == 3 => {
                values(rest)?;
                Slot::ProxyArgs(first)
            }
            _ => {
                values(parts)?;
                if forms::are_names(self, parts) {
                    Slot::Names(first, count)
                } else {
                    Slot::Tuple(first, count)
                }
            }
        };
        if self.elements.len() + parts.len() > self.guard.limits.memo {
            return Err(refused("too many tuples"));
        }
        let mut size = Size::default();
        for part in parts {
            let of = self.size(*part);
            size.depth = size.depth.max(of.depth + 1);
            size.objects = size.objects.saturating_add(of.objects);
        }
        if size.depth > MAX_DEPTH || size.objects as usize > self.guard.limits.operations {
            return Err(refused("tuples nest so deep that CPython could crash, or not end"));
        }
        self.sizes.resize(self.elements.len(), Size::default());
        self.sizes.push(size);
        self.elements.extend_from_slice(parts);
        Ok(tuple)
    }

    fn size(&self, slot: Slot) -> Size {
        match slot {
            Slot::Tuple(first, 1..) | Slot::Names(first, 1..) => {
                self.sizes.get(first as usize).copied().unwrap_or_default()
            }
            _ => Size { depth: 0, objects: 1 },
        }
    }

    /// Puts keys and values into a dict.
    fn set_items(&mut self, dict: Slot, items: &[Slot]) -> Result<()> {
        let only_exposed = match items {
            [Slot::Str(key), names] => {
                self.text(*key) == b"exposed"
                    && matches!(names, Slot::Names(..) | Slot::Tuple(_, 0))
            }
            _ => false,
        };
        if let Some(dict) = self.dict(dict).filter(|_| !items.is_empty()) {
            *dict = match dict {
                Dict::Keywords => return Err(refused("the keywords of a proxy are changed")),
                Dict::Empty if only_exposed => Dict::Exposed,
                _ => Dict::Other,
            };
        }
        Ok(())
    }

    /// The object that a name means. All names are refused that are not known to be harmless, even
    /// where `CPython` would not find them.
    fn global(&self, op: Op<'_>, module: &[u8], name: &[u8]) -> Result<Slot> {
        let is_old = op.protocol <= OLD_NAMES;
        if let Some(known) = Name::of(module, name, is_old) {
            return Ok(Slot::Global(known));
        }
        if let (false, Ok(module), Ok(name)) =
            (is_old, str::from_utf8(module), str::from_utf8(name))
            && self.guard.allows(module, name)
        {
            return Ok(Slot::Allowed);
        }
        Err(refused(format!(
            "{}.{} is not allowed: the guard passes only plain data, proxies of this manager, and the classes and \
             functions listed with --allow",
            shown(module),
            shown(name)
        )))
    }

    /// Checks where an operation stands: frames hold whole operations, and a pickle begins once.
    fn place(&mut self, op: Op<'_>) {
        let (start, end) = (op.start as usize, op.end as usize);
        if start < self.frame && (end > self.frame || op.code == op::FRAME) {
            self.broken = Some("a frame ends within an operation");
        }
        match op.code {
            op::PROTO if start > 0 => self.broken = Some("a second PROTO"),
            op::FRAME => self.frame = end.saturating_add(number(op.operand)),
            _ => {}
        }
    }
}

impl Builder for Reader<'_> {
    type Slot = Slot;

    fn push(&mut self, op: Op<'_>, stack: &mut Vec<Slot>) -> Result<()> {
        self.place(op);
        let span = Span(op.end - index(op.operand.len()), op.end);
        stack.push(match op.code {
            op::MARK => Slot::Mark,
            op::NONE => Slot::None,
            op::BININT1 | op::BININT2 => Slot::Int(i32::try_from(number(op.operand)).unwrap_or(-1)),
            op::BININT => {
                let bytes = op.operand.try_into().unwrap_or_default();
                Slot::Int(i32::from_le_bytes(bytes))
            }
            op::LONG1 | op::LONG4 => Slot::Int(-1),
            op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => Slot::Str(span),
            op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 => Slot::Bytes(span),
            op::EMPTY_TUPLE => Slot::Tuple(0, 0),
            op::EMPTY_LIST => Slot::List,
            op::EMPTY_SET => Slot::Set,
            op::EMPTY_DICT if self.dicts.len() < self.guard.limits.memo => {
                self.dicts.push(Dict::Empty);
                Slot::Dict(index(self.dicts.len() - 1))
            }
            op::EMPTY_DICT => Slot::Dict(UNKNOWN),
            op::GLOBAL => {
                let mut lines = op.operand.splitn(2, |byte| *byte == b'\n');
                let module = lines.next().unwrap_or_default();
                self.global(op, module, lines.next().unwrap_or_default())?
            }
            op::NEWTRUE | op::NEWFALSE | op::BINFLOAT | op::BYTEARRAY8 => Slot::Data,
            _ => return Err(unexpected(op)),
        });
        Ok(())
    }

    fn join(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        self.place(op);
        let joined = stack.get(parts.first..).unwrap_or_default();
        let made = match (op.code, joined) {
            (op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3, joined) => self.new_tuple(joined)?,
            (op::FROZENSET, joined) => values(joined).map(|()| Slot::Data)?,
            (op::STACK_GLOBAL, [Slot::Str(module), Slot::Str(name)]) => {
                self.global(op, self.text(*module), self.text(*name))?
            }
            (op::STACK_GLOBAL, _) => {
                return Err(refused("the name of a class or function is no string of the pickle"));
            }
            (op::REDUCE, [callable, args]) => forms::call(self, *callable, *args)?,
            (op::NEWOBJ, [class, args]) => forms::new_object(self, *class, *args)?,
            _ => return Err(unexpected(op)),
        };
        stack.truncate(parts.slot);
        stack.push(made);
        Ok(())
    }

    fn fill(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        self.place(op);
        let items = stack.get(parts.first..).unwrap_or_default();
        values(items)?;
        match (op.code, stack.get(parts.slot).copied(), items) {
            (op::BUILD, Some(Slot::Token(token)), [state]) => self.build_token(token, *state)?,
            (op::APPEND | op::APPENDS, Some(Slot::List), _)
            | (op::ADDITEMS, Some(Slot::Set), _)
            | (_, Some(Slot::Instance), _) => {}
            (op::SETITEM | op::SETITEMS, Some(dict @ Slot::Dict(_)), items) => {
                self.set_items(dict, items)?;
            }
            _ => {
                let name = Opcode::of(op.code).name;
                return Err(refused(format!("{name} on an object that it does not belong to")));
            }
        }
        stack.truncate(parts.slot + 1);
        Ok(())
    }

    fn put(&mut self, op: Op<'_>, stack: &mut [Slot], key: Option<usize>) -> Result<()> {
        self.place(op);
        let next = self.memo.len();
        if next >= self.guard.limits.memo {
            return Err(crate::Error::limit("memo size", self.guard.limits.memo));
        }
        if let Some(key) = key.filter(|key| *key != next) {
            return Err(refused(format!("memo key {key} is put instead of {next}")));
        }
        match stack.last() {
            Some(Slot::Mark) | None => Err(unexpected(op)),
            Some(slot) => {
                self.memo.push(*slot);
                Ok(())
            }
        }
    }

    fn get(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, key: usize) -> Result<Option<Span>> {
        self.place(op);
        let slot = self.memo.get(key).copied();
        stack.push(slot.ok_or_else(|| refused(format!("memo key {key} was never put")))?);
        Ok(None)
    }

    fn discard(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, first: usize) {
        self.place(op);
        stack.truncate(first);
    }

    fn skip(&mut self, op: Op<'_>) {
        self.place(op);
    }
}

fn unexpected(op: Op<'_>) -> crate::Error {
    refused(format!("{} is refused here", Opcode::of(op.code).name))
}

/// The counts are those of operations, which have 32 bits.
#[allow(clippy::cast_possible_truncation)]
fn index(at: usize) -> u32 {
    at as u32
}

/// The address of a token, for a reason.
pub(super) fn describe(reader: &Reader<'_>, slot: Slot) -> Option<String> {
    match slot {
        Slot::Str(span) | Slot::Bytes(span) => Some(shown(reader.text(span))),
        slot => match reader.tuple(slot) {
            Some([Slot::Str(host), Slot::Int(port)]) => {
                Some(format!("{}:{port}", shown(reader.text(*host))))
            }
            _ => None,
        },
    }
}
