//! How Python's built-in types take their arguments, and what they say of wrong ones.
//!
//! `list`, `dict` and `set` are written in C, where a method takes its arguments by place and no
//! keywords; each of the four kinds of method has words of its own. ([`Call::bind`] has the words of
//! what is written in Python.)

use crate::exception::Exception;
use crate::object::call::Call;
use crate::pickle::Pickle;

/// The arguments of a special method, such as `__setitem__`.
pub(super) fn special<'a, const N: usize>(call: &Call<'a>) -> Result<[&'a Pickle; N], Exception> {
    let method = call.method();
    if !call.keywords().is_empty() {
        let text = format!("wrapper {method}() takes no keyword arguments");
        return Err(Exception::type_error(text));
    }
    // With more than one, the count is made elsewhere in C, and it knows the name.
    let (name, plural) = match N {
        0 => ("", "s"),
        1 => ("", ""),
        _ => (method, "s"),
    };
    let space = if name.is_empty() { "" } else { " " };
    let got = call.positional().len();
    exactly(call).ok_or_else(|| {
        Exception::type_error(format!("{name}{space}expected {N} argument{plural}, got {got}"))
    })
}

/// The arguments of a method of `class` that takes none.
pub(super) fn none(call: &Call<'_>, class: &str) -> Result<(), Exception> {
    no_keywords(call, class)?;
    match call.positional().len() {
        0 => Ok(()),
        got => Err(Exception::type_error(format!(
            "{class}.{}() takes no arguments ({got} given)",
            call.method()
        ))),
    }
}

/// The argument of a method of `class` that takes one.
pub(super) fn one<'a>(call: &Call<'a>, class: &str) -> Result<&'a Pickle, Exception> {
    no_keywords(call, class)?;
    let got = call.positional().len();
    exactly(call).map(|[arg]| arg).ok_or_else(|| {
        let method = call.method();
        Exception::type_error(format!(
            "{class}.{method}() takes exactly one argument ({got} given)"
        ))
    })
}

/// The arguments of a method of `class` that takes one, and perhaps another.
pub(super) fn one_or_two<'a>(
    call: &Call<'a>,
    class: &str,
) -> Result<(&'a Pickle, Option<&'a Pickle>), Exception> {
    let [first, second] = some(call, class, 1)?;
    // The first is there, or the call was refused.
    first.map(|first| (first, second)).ok_or_else(|| call.no_such_method())
}

/// The arguments of a method of `class` that takes `least` to `N`.
pub(super) fn some<'a, const N: usize>(
    call: &Call<'a>,
    class: &str,
    least: usize,
) -> Result<[Option<&'a Pickle>; N], Exception> {
    no_keywords(call, class)?;
    up_to(call, least)
}

/// The same for what takes keyword arguments as well, such as `dict.update`.
pub(super) fn up_to<'a, const N: usize>(
    call: &Call<'a>,
    least: usize,
) -> Result<[Option<&'a Pickle>; N], Exception> {
    let got = call.positional().len();
    if (least..=N).contains(&got) {
        let mut bound = [None; N];
        bound.iter_mut().zip(call.positional()).for_each(|(slot, arg)| *slot = Some(arg));
        return Ok(bound);
    }
    let (which, count) = match got {
        _ if least == N => ("", N),
        _ if got < least => ("at least ", least),
        _ => ("at most ", N),
    };
    let plural = if count == 1 { "" } else { "s" };
    let method = call.method();
    Err(Exception::type_error(format!(
        "{method} expected {which}{count} argument{plural}, got {got}"
    )))
}

/// Refuses keyword arguments to a method of `class`.
pub(super) fn no_keywords(call: &Call<'_>, class: &str) -> Result<(), Exception> {
    if call.keywords().is_empty() {
        return Ok(());
    }
    let method = call.method();
    Err(Exception::type_error(format!("{class}.{method}() takes no keyword arguments")))
}

fn exactly<'a, const N: usize>(call: &Call<'a>) -> Option<[&'a Pickle; N]> {
    call.positional()
        .first_chunk::<N>()
        .filter(|_| call.positional().len() == N)
        .map(|args| args.each_ref())
}
