//! Objects of Python classes that mean nothing here, such as `datetime.date`: made by name, and asked for their name.

use super::{Pickle, Writer};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::value::IntoArgs;

impl Pickle {
    /// An object that a Python process makes by calling `module.name(*args)` when it opens the pickle.
    ///
    /// Nothing is looked up here: whether the class exists is known only to the process that opens the pickle.
    ///
    /// ```
    /// use basemanager::{Pickle, Value};
    /// let date = Pickle::instance("datetime", "date", (2026, 1, 31))?;
    /// assert_eq!(date.class(), Some(("datetime".to_owned(), "date".to_owned())));
    ///
    /// let list = Pickle::global("builtins", "list");
    /// let counts = Pickle::instance("collections", "defaultdict", (list,))?;
    /// let values = Value::from((date, counts)); // to be put into a queue
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conversion`] if an argument cannot be pickled, or is a keyword argument.
    pub fn instance(module: &str, name: &str, args: impl IntoArgs) -> Result<Self> {
        args.with_args(|args, kwargs| {
            if !kwargs.is_empty() {
                let reason = format!(
                    "{name}() is pickled with keyword arguments; only positional ones are allowed"
                );
                return Err(Error::conversion(reason));
            }
            let mut writer = Writer::default();
            writer.global(module, name);
            writer.tuple(args.len(), |writer| writer.values(args));
            writer.reduce();
            writer.into_result()
        })
    }

    /// A reference to a class or function, such as `builtins.list`.
    #[must_use]
    pub fn global(module: &str, name: &str) -> Self {
        let mut writer = Writer::default();
        writer.global(module, name);
        writer.into_pickle()
    }

    /// The module and name of the object's class, or of the function that makes the object, such as
    /// `("datetime", "date")`. `None` for plain data, and for references to classes and functions.
    #[must_use]
    pub fn class(&self) -> Option<(String, String)> {
        self.as_instance(&Limits::default()).map(|instance| (instance.module, instance.name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::value::{Args, Value};

    #[test]
    fn instance_survives_the_wire() {
        let date = Pickle::instance("datetime", "date", (2026, 1, 31)).unwrap();
        assert_eq!(
            date.to_bytes(),
            b"\x80\x05\x8c\x08datetime\x8c\x04date\x93M\xea\x07K\x01K\x1f\x87R."
        );
        let taken = Pickle::from_bytes(&date.to_bytes(), &Limits::default()).unwrap();
        assert_eq!(taken.class(), Some(("datetime".to_owned(), "date".to_owned())));
        assert!(matches!(taken.decode(&Limits::default()).unwrap(), Value::Opaque(_)));
    }

    #[test]
    fn only_instances_have_a_class() {
        assert_eq!(Pickle::global("builtins", "list").class(), None);
        assert_eq!(Pickle::encode(&7.into()).unwrap().class(), None);
        let nested = Pickle::instance("a", "B", (Pickle::global("c", "D"),)).unwrap();
        assert_eq!(nested.class().unwrap().1, "B");
        let refused = Pickle::instance("a", "B", Args::new().kwarg("by", 5)).unwrap_err();
        assert!(refused.to_string().contains("only positional"), "{refused}");
    }
}
