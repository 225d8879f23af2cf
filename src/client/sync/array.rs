//! The proxy of an array, in the manager of either language.

use crate::client::Proxy;
use crate::error::{Error, Result};
use crate::sync::typecode;
use crate::value::Value;

/// An `Array` in a manager: numbers of one type. A clone is the same array.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Array, ArrayProxy};
/// # let server = Manager::new("key").register("Array", Array::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let array: ArrayProxy = client.create("Array", ("d", [0.0, 1.5]))?.into();
/// array.set(0, 7)?;
/// assert_eq!(array.get_as::<f64>(0)?, Some(7.0));
/// assert_eq!(array.to_vec()?, [7.0.into(), 1.5.into()]);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayProxy(Proxy);

typed!(ArrayProxy, sized, indexed);

impl ArrayProxy {
    /// A copy of all items, got at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        let array = self.0.call("#GETVALUE", ())?;
        typecode::items(&array).ok_or_else(|| {
            Error::conversion(format!("expected an array, got {}", array.type_name()))
        })
    }
}
