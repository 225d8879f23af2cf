//! Integers that do not fit an `i64`.

use std::fmt::{self, Write};

use super::Value;

/// A Python `int` outside the range of `i64`, of any size.
///
/// It comes out of [`Value::from_le_bytes`] or a conversion from a wider Rust integer, so that each
/// number has one picture only. Printing gives its decimal digits.
///
/// ```
/// use basemanager::Value;
/// assert_eq!(Value::from(u64::MAX).to_string(), "18446744073709551615");
/// ```
// Two's complement, little-endian, as short as it can be: what pickle's `LONG1` carries.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt(Box<[u8]>);

/// The most bytes an integer in the range of `f64` takes: 1,024 bits and a sign.
const FLOAT_BYTES: usize = 129;

/// The decimal digits are made from pieces of 19, the most that fit a `u64`.
const PIECE: u128 = 10_u128.pow(19);

impl Value {
    /// An integer from two's complement, little-endian, of any length, as pickle writes it. No bytes
    /// are 0.
    ///
    /// ```
    /// use basemanager::Value;
    /// assert_eq!(Value::from_le_bytes(&[0x00, 0xff]), Value::from(-256));
    /// ```
    #[must_use]
    pub fn from_le_bytes(bytes: &[u8]) -> Self {
        let sign = sign(bytes);
        let mut shortest = bytes;
        // A last byte that only repeats the sign of those before it says nothing.
        while let [rest @ .., last] = shortest
            && *last == sign
            && self::sign(rest) == sign
        {
            shortest = rest;
        }
        if shortest.len() <= size_of::<i64>() {
            Self::Int(i64::from_le_bytes(extended(shortest, sign)))
        } else {
            Self::BigInt(BigInt(shortest.into()))
        }
    }
}

impl BigInt {
    /// Two's complement, little-endian, in as few bytes as hold it with its sign.
    #[must_use]
    pub fn to_le_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the number is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        sign(&self.0) != 0
    }

    /// Compares exactly. Beyond `i64` every finite float is whole, and prints in full.
    pub(super) fn eq_float(&self, float: f64) -> bool {
        self.0.len() <= FLOAT_BYTES && format!("{float:.0}") == self.to_string()
    }

    /// The nearest float, if there is a finite one.
    pub(super) fn to_f64(&self) -> Option<f64> {
        let digits = (self.0.len() <= FLOAT_BYTES).then(|| self.to_string())?;
        digits.parse().ok().filter(|float: &f64| float.is_finite())
    }

    pub(super) fn to_i128(&self) -> Option<i128> {
        let fits = self.0.len() <= size_of::<i128>();
        fits.then(|| i128::from_le_bytes(extended(&self.0, sign(&self.0))))
    }

    /// The number without its sign, as little-endian limbs.
    fn magnitude(&self) -> Vec<u64> {
        let sign = sign(&self.0);
        let limbs = self.0.chunks(8).map(|chunk| u64::from_le_bytes(extended(chunk, sign)));
        // -n is !n + 1.
        let mut carry = true;
        let negated = |limb: u64| {
            let (sum, overflow) = (!limb).overflowing_add(u64::from(carry));
            carry = overflow;
            sum
        };
        if sign != 0 { limbs.map(negated).collect() } else { limbs.collect() }
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limbs = self.magnitude();
        let mut pieces = Vec::new();
        while !limbs.is_empty() {
            pieces.push(divide(&mut limbs));
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
        }
        let mut digits = String::new();
        for piece in pieces.iter().rev() {
            write!(digits, "{piece:019}")?;
        }
        f.pad_integral(!self.is_negative(), "", digits.trim_start_matches('0'))
    }
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Divides by `PIECE` in place, and returns the remainder.
#[allow(clippy::cast_possible_truncation)] // The remainder is below PIECE, so a quotient is a limb.
fn divide(limbs: &mut [u64]) -> u128 {
    limbs.iter_mut().rev().fold(0, |remainder, limb| {
        let part = remainder << 64 | u128::from(*limb);
        *limb = (part / PIECE) as u64;
        part % PIECE
    })
}

/// The byte that these would go on with for ever: 0, or 0xff below zero.
fn sign(bytes: &[u8]) -> u8 {
    if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 }
}

fn extended<const N: usize>(bytes: &[u8], fill: u8) -> [u8; N] {
    let mut all = [fill; N];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    all
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    fn big(value: impl Into<Value>) -> BigInt {
        match value.into() {
            Value::BigInt(int) => int,
            other => panic!("{other} fits an i64"),
        }
    }

    #[test]
    fn bytes_are_those_of_pickle() {
        // What Python's pickle.encode_long() gives.
        let cases: [(i128, &[u8]); 4] = [
            (1 << 63, b"\0\0\0\0\0\0\0\x80\0"),
            (-(1 << 63) - 1, b"\xff\xff\xff\xff\xff\xff\xff\x7f\xff"),
            (1 << 64, b"\0\0\0\0\0\0\0\0\x01"),
            (10_i128.pow(38), b"\0\0\0\0@\"\x8a\tz\xc4\x86Z\xa8L;K"),
        ];
        for (int, bytes) in cases {
            assert_eq!(big(int).to_le_bytes(), bytes);
            assert_eq!(big(int).to_string(), int.to_string());
            let longer = [bytes, &[sign(bytes); 20]].concat();
            assert_eq!(Value::from_le_bytes(&longer), Value::from(int));
        }
    }

    #[test]
    fn what_fits_is_an_int() {
        for int in [0, 1, -1, 127, 128, -128, -129, i64::MAX, i64::MIN] {
            let bytes = i128::from(int).to_le_bytes();
            assert!(matches!(Value::from_le_bytes(&bytes), Value::Int(same) if same == int));
        }
        assert!(matches!(Value::from_le_bytes(&[]), Value::Int(0)));
    }

    #[test]
    fn digits() {
        for int in [i128::MAX, 1 << 63, 10_i128.pow(19), 10_i128.pow(38), 10_i128.pow(38) - 1] {
            assert_eq!(big(int).to_string(), int.to_string());
        }
        for int in [i128::MIN, i128::MIN + 1, -(1 << 64), -(1 << 64) - 1, -10_i128.pow(38)] {
            assert_eq!(big(int).to_string(), int.to_string());
        }
        // 256**50, from Python.
        let power = big(Value::from_le_bytes(&[&[0; 50][..], &[1]].concat()));
        let digits = "2582249878086908589655919172003011874329705792829223512830659\
                      356540647622016841194629645353280137831435903171972747493376";
        assert_eq!(power.to_string(), digits);
        assert_eq!(format!("{:>22}", big(u64::MAX)), "  18446744073709551615");
    }
}
