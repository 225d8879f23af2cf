//! `NumPy`'s scalars: `numpy.float64(0.5)` and the like.
//!
//! They are stored and forwarded unopened, as any object, and count as the numbers that they are wherever a
//! number, a truth value or a key is read. They are pickled as a call:
//!
//! ```text
//!  numpy.core.multiarray.scalar(dtype, b'...')       NumPy 1
//!  numpy._core.multiarray.scalar(dtype, b'...')      NumPy 2
//!  dtype: numpy.dtype('f8', False, True), with the state (3, '<', ...)
//! ```

use std::borrow::Cow;

use super::{Pickle, Value};
use crate::limits::Limits;
use crate::pickle::int_from_le_bytes;

/// No scalar of these types takes more bytes, nor does any take fewer.
const SIZES: std::ops::RangeInclusive<usize> = 60..=200;
const MODULE_PART: &[u8] = b"multiarray";

impl Value {
    /// The number that a `NumPy` scalar is: a `bool`, `int` or `float`. Any other value is itself.
    pub(crate) fn plain(&self) -> Cow<'_, Self> {
        match self {
            Self::Opaque(pickle) => number(pickle).map_or(Cow::Borrowed(self), Cow::Owned),
            _ => Cow::Borrowed(self),
        }
    }

    /// The same for one that is not needed any more.
    pub(crate) fn into_plain(self) -> Self {
        match self.plain() {
            Cow::Owned(number) => number,
            Cow::Borrowed(_) => self,
        }
    }
}

/// The number that a `NumPy` scalar is, if it is one of a type that Python has as well.
pub(super) fn number(pickle: &Pickle) -> Option<Value> {
    let ops = pickle.ops();
    // To tell nearly all others without opening them.
    if !SIZES.contains(&ops.len())
        || !ops.windows(MODULE_PART.len()).any(|part| part == MODULE_PART)
    {
        return None;
    }
    let limits = Limits::default();
    let scalar = pickle.as_instance(&limits)?;
    let (
        "numpy.core.multiarray" | "numpy._core.multiarray",
        "scalar",
        [Value::Opaque(dtype), Value::Bytes(bytes)],
        None,
    ) = (scalar.module.as_str(), scalar.name.as_str(), scalar.args.as_slice(), &scalar.state)
    else {
        return None;
    };
    let dtype = dtype.as_instance(&limits)?;
    let ("numpy", "dtype", [Value::Str(code), ..], Some(Value::Tuple(state))) =
        (dtype.module.as_str(), dtype.name.as_str(), dtype.args.as_slice(), &dtype.state)
    else {
        return None;
    };
    let mut bytes = bytes.clone();
    if state.get(1).and_then(Value::as_str) == Some(">") {
        bytes.reverse();
    }
    read(code, &bytes)
}

/// Reads little-endian bytes by a dtype's code: its kind, and the number of bytes.
fn read(code: &str, bytes: &[u8]) -> Option<Value> {
    let [kind, size] = <[u8; 2]>::try_from(code.as_bytes()).ok()?;
    if usize::from(size) != usize::from(b'0') + bytes.len() {
        return None;
    }
    Some(match kind {
        b'b' => Value::Bool(bytes != [0]),
        b'i' => Value::Int(int_from_le_bytes(bytes)?),
        // A zero byte more, or the top bit would be taken for the sign.
        b'u' => Value::Int(int_from_le_bytes(&[bytes, &[0]].concat())?),
        b'f' => Value::Float(match bytes.len() {
            2 => half(u16::from_le_bytes(bytes.try_into().ok()?)),
            4 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
            _ => f64::from_le_bytes(bytes.try_into().ok()?),
        }),
        _ => return None,
    })
}

/// An IEEE 754 number of 16 bits: a sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let size = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}
