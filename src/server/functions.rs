//! The functions of the manager itself, one of which is the first request on each connection.
//!
//! CPython: `multiprocessing.managers.Server.public`, and the methods of that class.

use std::fmt::Display;
use std::sync::Arc;

use super::objects::Entry;
use super::{ServerState, registry};
use crate::error::Error;
use crate::exception::Exception;
use crate::object::Return;
use crate::object::call::{Call, Context};
use crate::object::stored::ObjectTable;
use crate::value::Value;
use crate::wait::{Caller, WaitError};
use crate::wire::message::{Reply, Request, Token};

/// Calls a function. `accept_connection` is answered here, and carried out by the session.
pub(super) fn call(
    state: &ServerState,
    request: &mut Request,
    context: &mut Context,
    caller: &mut dyn Caller,
) -> Result<Value, Reply> {
    if request.method == "create" {
        return create(state, request, context, caller);
    }
    let call = Call::new(request, context, caller, None);
    let ident = |name| {
        let ([ident], []) = call.args([name], []).map_err(traceback)?;
        ident.to::<String>().map_err(|error| traceback(Exception::from(error)))
    };
    let no_args = || call.no_args().map_err(traceback);
    match call.method() {
        "accept_connection" => drop(ident("name")?),
        method @ ("incref" | "decref") => {
            let ident = ident("ident")?;
            let found = if method == "incref" {
                // After a restart, it may have to be made again.
                state.entry(&ident)?;
                state.objects.incref(&ident)
            } else {
                // The reference may have been taken before a restart, or at another manager with the same address.
                state.objects.decref(&ident) || state.named(&ident).is_some()
            };
            state.notify_progress();
            if !found {
                return Err(unknown_id(&ident));
            }
        }
        "get_methods" => {
            let ([token], []) = call.args(["token"], []).map_err(traceback)?;
            let token = Token::read(token, &state.settings.limits)
                .ok_or_else(|| traceback("TypeError: get_methods() takes a token"))?;
            let entry = state.entry(&token.id)?;
            return Ok(Value::Tuple(entry.advertised().map(Value::from).collect()));
        }
        "dummy" => no_args()?,
        "debug_info" => return no_args().map(|()| state.objects.debug_info().into()),
        "number_of_objects" => return no_args().map(|()| state.objects.count().into()),
        "shutdown" => {
            no_args()?;
            if !state.settings.remote_shutdown {
                return Err(traceback("PermissionError: clients may not shut this manager down"));
            }
            call.shut_down_manager();
        }
        unknown => {
            return Err(traceback(format_args!(
                "AssertionError: '{unknown}' unrecognized; the manager's functions are: \
                 accept_connection, create, debug_info, decref, dummy, get_methods, incref, \
                 number_of_objects, shutdown"
            )));
        }
    }
    Ok(Value::None)
}

/// `create(typeid, *args, **kwargs)`: calls the registered callable. The client owns the first reference to
/// the result.
fn create(
    state: &ServerState,
    request: &mut Request,
    context: &mut Context,
    caller: &mut dyn Caller,
) -> Result<Value, Reply> {
    if state.is_stopping() {
        return Err(Reply::Error(WaitError::ShuttingDown.into()));
    }
    if request.args.is_empty() {
        return Err(traceback("TypeError: create() takes a typeid"));
    }
    let typeid = request.args.remove(0).to::<String>();
    let typeid = typeid.map_err(|error| traceback(format_args!("TypeError: a typeid: {error}")))?;
    let registration = state.registration(&typeid).filter(|found| found.create_method);
    let registration = registration.ok_or_else(|| {
        let names = state.settings.typeids().join(", ");
        traceback(format_args!("KeyError: no typeid '{typeid}' is registered; there are: {names}"))
    })?;
    request.method.clone_from(&typeid);
    let mut call = Call::new(request, context, caller, None);
    let mut result = (registration.callable)(&mut call).map_err(traceback)?;
    if registration.named.is_some() {
        // Under an id that contains the name. `insert` finds it there.
        let name = registry::name_of(&call).map_err(traceback)?;
        let id = state.named_id(&typeid, &name).map_err(traceback)?;
        let object = result.into_object();
        state.objects.share(id, Entry::new(Some(&registration), &typeid, object.clone()));
        result = Return::Shared(object);
    }
    let entry = insert(state, &typeid, result)?;
    let exposed = entry.advertised().map(Value::from).collect();
    Ok(Value::Tuple(vec![entry.id.as_str().into(), Value::Tuple(exposed)]))
}

/// The reply to a method whose result stays in the manager under this typeid.
pub(super) fn proxy_reply(state: &ServerState, typeid: &str, result: Return) -> Reply {
    match insert(state, typeid, result) {
        Ok(entry) => {
            let exposed = entry.advertised().map(str::to_owned).collect();
            let (typeid, address) = (typeid.to_owned(), Token::address(&state.address));
            Reply::Proxy(exposed, Token { typeid, address, id: entry.id.clone() })
        }
        Err(refusal) => refusal,
    }
}

/// Adds a result to the object table, with one reference.
fn insert(state: &ServerState, typeid: &str, result: Return) -> Result<Arc<Entry>, Reply> {
    let max = state.settings.max_objects;
    let registration = state.registration(typeid);
    let entry = Entry::new(registration.as_deref(), typeid, result.into_object());
    state.objects.insert(entry, max).ok_or_else(|| {
        let error = Error::limit("number of objects", max);
        traceback(format_args!("MemoryError: {error}"))
    })
}

pub(super) fn unknown_id(id: &str) -> Reply {
    let why = "it was released, or belongs to another manager";
    traceback(format_args!("KeyError: no object has the id '{id}': {why}"))
}

fn traceback(text: impl Display) -> Reply {
    Reply::Traceback(text.to_string())
}
