//! How `dill` pickles the built-in types that it treats in its own way. Clients of `multiprocess` use it.
//!
//! ```text
//!  slice, zip, enumerate, ...   dill._dill._load_type('slice')
//!  range(0, 3)                  dill._dill._eval_repr('range(0, 3)')
//! ```

use super::node::{Instance, Node};
use crate::value::Value;

/// What a call means: the class that it looks up, the range that it evaluates, or the call as it is.
pub(super) fn node(call: Instance) -> Node {
    let Instance { module, name, args, .. } = &call;
    match (module.as_str(), name.as_str(), args.as_slice()) {
        ("dill._dill", "_load_type", [Value::Str(class)]) => {
            Node::Global(Box::new(("builtins".to_owned(), class.clone())))
        }
        ("dill._dill", "_eval_repr", [Value::Str(text)]) => {
            Node::Instance(Box::new(range(text).unwrap_or(call)))
        }
        _ => Node::Instance(Box::new(call)),
    }
}

fn range(text: &str) -> Option<Instance> {
    let bounds = text.strip_prefix("range(")?.strip_suffix(')')?.split(", ");
    let bounds = bounds.map(|bound| bound.parse().ok().map(Value::Int));
    let mut args: Vec<Value> = bounds.collect::<Option<_>>()?;
    if args.len() == 2 {
        args.push(Value::Int(1));
    }
    let (module, name) = ("builtins".to_owned(), "range".to_owned());
    Some(Instance { module, name, args, called: true, state: None, items: None })
}
