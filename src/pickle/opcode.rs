//! The operations of a pickle: one table with the name, operand and effect of each.
//!
//! A pickle is a program for a small stack machine. Every operation is one byte, followed by its operand.
//! Names are those of CPython's `pickletools`, which documents each in full.

/// How an operation's operand is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operand {
    None,
    /// This number of bytes.
    Fixed(u8),
    /// A little-endian length, which itself has this number of bytes, and then the bytes.
    Counted(u8),
    /// Two lines of text, each ended by a newline.
    TwoLines,
}

/// What an operation does to the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Pushes an object that is written in the operation.
    Push,
    /// Pushes an object that was memoized.
    Get,
    /// Memoizes the object on top, under the key in the operand; without one, under the number of keys in use.
    Put,
    /// Pushes a mark.
    Mark,
    /// This number of objects on top become one.
    Join(u8),
    /// The objects above the last mark become one.
    JoinMark,
    /// This number of objects on top go into the one below them.
    Fill(u8),
    /// The objects above the last mark go into the one below it.
    FillMark,
    /// Drops the object on top.
    Pop,
    /// Drops the last mark and all above it.
    PopMark,
    /// Changes nothing: `PROTO` and `FRAME`.
    Skip,
    /// Ends the pickle.
    Stop,
    /// Is not read here: see [`refusal`].
    Refused,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opcode {
    pub(crate) name: &'static str,
    pub(crate) operand: Operand,
    pub(crate) effect: Effect,
}

const UNKNOWN: Opcode = Opcode { name: "?", operand: Operand::None, effect: Effect::Refused };

macro_rules! opcodes {
    ($($name:ident = $code:literal, $operand:expr, $effect:expr;)*) => {
        $(#[allow(dead_code, reason = "the table names every operation")]
        pub(crate) const $name: u8 = $code;)*

        #[allow(clippy::indexing_slicing, reason = "when this is compiled")]
        static TABLE: [Opcode; 256] = {
            use Effect::*;
            use Operand::{Counted, Fixed, TwoLines};
            const NO: Operand = Operand::None;
            let mut table = [UNKNOWN; 256];
            $(table[$code as usize] = Opcode { name: stringify!($name), operand: $operand, effect: $effect };)*
            table
        };
    };
}

opcodes! {
    // Atoms.
    NONE             = b'N', NO,         Push;
    NEWTRUE          = 0x88, NO,         Push;
    NEWFALSE         = 0x89, NO,         Push;
    BININT1          = b'K', Fixed(1),   Push;
    BININT2          = b'M', Fixed(2),   Push;
    BININT           = b'J', Fixed(4),   Push;
    LONG1            = 0x8a, Counted(1), Push;
    LONG4            = 0x8b, Counted(4), Push;
    BINFLOAT         = b'G', Fixed(8),   Push;
    SHORT_BINUNICODE = 0x8c, Counted(1), Push;
    BINUNICODE       = b'X', Counted(4), Push;
    BINUNICODE8      = 0x8d, Counted(8), Push;
    SHORT_BINBYTES   = b'C', Counted(1), Push;
    BINBYTES         = b'B', Counted(4), Push;
    BINBYTES8        = 0x8e, Counted(8), Push;
    BYTEARRAY8       = 0x96, Counted(8), Push;
    // Containers, and what goes into them.
    EMPTY_TUPLE      = b')', NO,         Push;
    EMPTY_LIST       = b']', NO,         Push;
    EMPTY_DICT       = b'}', NO,         Push;
    EMPTY_SET        = 0x8f, NO,         Push;
    MARK             = b'(', NO,         Mark;
    TUPLE1           = 0x85, NO,         Join(1);
    TUPLE2           = 0x86, NO,         Join(2);
    TUPLE3           = 0x87, NO,         Join(3);
    TUPLE            = b't', NO,         JoinMark;
    FROZENSET        = 0x91, NO,         JoinMark;
    APPEND           = b'a', NO,         Fill(1);
    APPENDS          = b'e', NO,         FillMark;
    SETITEM          = b's', NO,         Fill(2);
    SETITEMS         = b'u', NO,         FillMark;
    ADDITEMS         = 0x90, NO,         FillMark;
    // Classes and functions by name, their calls, and their objects' state.
    GLOBAL           = b'c', TwoLines,   Push;
    STACK_GLOBAL     = 0x93, NO,         Join(2);
    REDUCE           = b'R', NO,         Join(2);
    NEWOBJ           = 0x81, NO,         Join(2);
    NEWOBJ_EX        = 0x92, NO,         Join(3);
    BUILD            = b'b', NO,         Fill(1);
    // The memo, and what is discarded.
    MEMOIZE          = 0x94, NO,         Put;
    BINPUT           = b'q', Fixed(1),   Put;
    LONG_BINPUT      = b'r', Fixed(4),   Put;
    BINGET           = b'h', Fixed(1),   Get;
    LONG_BINGET      = b'j', Fixed(4),   Get;
    POP              = b'0', NO,         Pop;
    POP_MARK         = b'1', NO,         PopMark;
    // Around them.
    PROTO            = 0x80, Fixed(1),   Skip;
    FRAME            = 0x95, Fixed(8),   Skip;
    STOP             = b'.', NO,         Stop;
    // Not read.
    PERSID           = b'P', NO,         Refused;
    BINPERSID        = b'Q', NO,         Refused;
    EXT1             = 0x82, NO,         Refused;
    EXT2             = 0x83, NO,         Refused;
    EXT4             = 0x84, NO,         Refused;
    NEXT_BUFFER      = 0x97, NO,         Refused;
    READONLY_BUFFER  = 0x98, NO,         Refused;
    DUP              = b'2', NO,         Refused;
    INT              = b'I', NO,         Refused;
    LONG             = b'L', NO,         Refused;
    FLOAT            = b'F', NO,         Refused;
    STRING           = b'S', NO,         Refused;
    BINSTRING        = b'T', NO,         Refused;
    SHORT_BINSTRING  = b'U', NO,         Refused;
    UNICODE          = b'V', NO,         Refused;
    LIST             = b'l', NO,         Refused;
    DICT             = b'd', NO,         Refused;
    GET              = b'g', NO,         Refused;
    PUT              = b'p', NO,         Refused;
    INST             = b'i', NO,         Refused;
    OBJ              = b'o', NO,         Refused;
}

impl Opcode {
    /// The operation that a byte stands for.
    #[inline]
    pub(crate) fn of(code: u8) -> Self {
        TABLE.get(usize::from(code)).copied().unwrap_or(UNKNOWN)
    }
}

/// Why an operation is refused.
pub(crate) fn refusal(code: u8) -> &'static str {
    match code {
        PERSID | BINPERSID => "persistent ids are not resolved",
        EXT1 | EXT2 | EXT4 => "extension codes are not looked up",
        NEXT_BUFFER | READONLY_BUFFER => "buffers must be part of the pickle",
        DUP => "no pickler writes it",
        _ => "protocols 2 to 5 are read",
    }
}

/// An unsigned little-endian number; one that does not fit is as large as can be.
#[allow(clippy::inline_always, reason = "the size is mostly known")]
#[inline(always)]
pub(crate) fn number(bytes: &[u8]) -> usize {
    let number = match *bytes {
        [a] => u64::from(a),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    usize::try_from(number).unwrap_or(usize::MAX)
}
