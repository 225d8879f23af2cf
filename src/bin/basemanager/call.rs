//! `call`: a registered callable, or a method of its object.

use basemanager::value::Args;
use basemanager::{Proxy, Value};

use crate::connect::Connect;
use crate::failure::Failure;
use crate::json::{self, Format};
use crate::print;

/// Call a registered callable, or a method of its object
#[derive(clap::Args)]
#[command(after_help = "\
ARGS are the method's arguments: JSON, or text if not valid JSON; NAME=VALUE is a keyword argument. \
Arguments of the callable itself follow the typeid in parentheses, as JSON.

Examples: basemanager call task_queue qsize
          basemanager call 'queue(\"emails\")' put 7
          basemanager call 'add(40, 2)'")]
pub(crate) struct Call {
    /// Typeid (the registered name), followed by the callable's arguments in parentheses, if any
    typeid: String,
    /// Method of the object that the callable returns
    method: Option<String>,
    /// Arguments of the method
    #[arg(allow_negative_numbers = true)]
    args: Vec<String>,
    /// Print Python's repr instead of JSON
    #[arg(long)]
    repr: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Call {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (typeid, create) = parse_typeid(&self.typeid)?;
        let args = self.args.iter().try_fold(Args::new(), |args, arg| with_arg(args, arg))?;
        let proxy = self.connect.client()?.create(typeid, create)?;
        let result = match &self.method {
            Some(method) => proxy.call_waiting(method, args, None)?,
            None => value_of(&proxy)?,
        };
        let mut text = Vec::new();
        let format = if self.repr { Format::Repr } else { Format::Json };
        json::append_item(&mut text, &result, format);
        print(&text).map(drop)
    }
}

/// A copy of what a callable returned, or how Python prints it.
fn value_of(proxy: &Proxy) -> Result<Value, Failure> {
    match proxy.value() {
        Err(error) if !error.is_disconnected() => Ok(proxy.repr()?.into()),
        result => Ok(result?),
    }
}

/// Splits `typeid(1, "two")`.
fn parse_typeid(text: &str) -> Result<(&str, Args), Failure> {
    let Some((typeid, args)) = text.split_once('(') else { return Ok((text, Args::new())) };
    let args = args
        .strip_suffix(')')
        .ok_or_else(|| Failure::usage(format!("{text} lacks a closing parenthesis")))?;
    let Value::List(args) = json::parse(&format!("[{args}]"))? else {
        return Err(Failure::usage(format!("the arguments in {text} are not JSON")));
    };
    Ok((typeid, args.into_iter().fold(Args::new(), Args::arg)))
}

fn with_arg(args: Args, text: &str) -> Result<Args, Failure> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c == '_' || c.is_alphanumeric())
    };
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok(args.kwarg(name, json::parse(value)?)),
        _ => Ok(args.arg(json::parse(text)?)),
    }
}
