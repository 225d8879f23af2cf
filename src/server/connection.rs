//! One connection, from its handshake to its end, on a thread of its own.
//!
//! ```text
//!  handshake ──► one request to the manager itself ──► reply, end
//!                └─ accept_connection ──► requests to objects, in turn, until the peer closes
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::link::{Connection, Link};
use super::objects::{Entry, New, let_go};
use super::{Core, Registration, Seat, guarded};
use crate::error::{Error, Exception, Result};
use crate::frame::{FrameReader, Source};
use crate::handshake;
use crate::message::{Reply, Request, Token};
use crate::pickle::Scan;
use crate::shared::call::Call;
use crate::shared::queue;
use crate::shared::wait::{Interrupted, pipelined_too_much};
use crate::shared::{Return, SharedObject};
use crate::transport::{Timed, deadline};
use crate::value::Value;

/// The functions of the manager itself.
const FUNCTIONS: [&str; 9] = [
    "accept_connection",
    "create",
    "debug_info",
    "decref",
    "dummy",
    "get_methods",
    "incref",
    "number_of_objects",
    "shutdown",
];

/// Serves a connection until it ends.
pub(super) fn serve(seat: &mut Seat, connection: Arc<Connection>) {
    let peer = connection.peer;
    match converse(seat, connection) {
        Ok(()) | Err(Error::Disconnected) => {}
        Err(error) => {
            let event = if seat.leave.proved { "closed" } else { "rejected" };
            seat.core.log(format_args!("{event} {peer}: {}", error.reason()));
        }
    }
}

fn converse(seat: &mut Seat, connection: Arc<Connection>) -> Result<()> {
    let core = &seat.core;
    let settings = &core.settings;
    let mut reader = FrameReader::new();
    let mut timed = Timed(&connection.stream, deadline(settings.handshake_timeout));
    handshake::accept(&mut reader, &mut timed, &settings.authkey)?;
    if !seat.leave.prove() {
        return Err(Error::Disconnected);
    }
    connection.stream.set_timeouts(None, Some(settings.write_timeout))?;
    // The peer may hold its request back until its last word is acknowledged.
    (&connection.stream).ack_now();

    let mut scan = Scan::default();
    let mut link = Link::new(core.clone(), connection);
    let mut accepted = false;
    while !core.is_stopping() || !accepted {
        link.flush_many()?;
        let frame = match reader.read(&mut link, settings.limits.frame_size) {
            Ok(frame) => frame,
            Err(error @ Error::Limit(..)) => {
                link.reply(&Reply::Traceback(error.to_string()));
                continue;
            }
            Err(error) => {
                // Without a length there are no more frames; a peer that is there learns why.
                if let Error::Protocol(_) = error {
                    link.reply(&Reply::Traceback(error.to_string()));
                    link.flush()?;
                }
                return Err(error);
            }
        };
        match Request::parse(&mut scan, frame, &settings.limits) {
            // A panic in a user's code costs this call.
            Ok(request) => match guarded(|| respond(core, &request, accepted, &mut link)) {
                Ok(goes_on) => accepted = goes_on,
                Err(panic) => link.reply(&Reply::Traceback(panic)),
            },
            Err(error) => link.reply(&Reply::Traceback(error.to_string())),
        }
        scan.trim();
        if !accepted || link.gone {
            break;
        }
    }
    link.flush()?;
    if link.has_pipelined_too_much() { Err(pipelined_too_much()) } else { Ok(()) }
}

/// Answers a request; gives whether there may be more.
fn respond(core: &Arc<Core>, request: &Request<'_>, accepted: bool, link: &mut Link) -> bool {
    if accepted {
        link.passed();
        answer(core, request, link);
        return true;
    }
    let result = function(core, request, link);
    let goes_on = result.is_ok() && request.method == "accept_connection";
    link.reply(&result.map_or_else(Reply::Traceback, Reply::Return));
    goes_on
}

/// Carries out a request to an object.
fn answer(core: &Arc<Core>, request: &Request<'_>, link: &mut Link) {
    if core.is_stopping() {
        return link.reply(&Reply::Error(Interrupted::ManagerEnding.into()));
    }
    let ident = request.ident.unwrap_or_default();
    let Some(entry) = find(core, ident, link) else {
        return link.reply(&Reply::Traceback(unknown(ident)));
    };
    if !entry.exposed.iter().any(|name| name == request.method) {
        fallback(&entry, request.method, link);
        return let_go(entry);
    }
    let mut call = Call::new(request, request.method, request.args, link);
    match entry.object.call(&mut call) {
        Err(exception) => link.reply(&Reply::Error(exception)),
        Ok(result) => match (entry.method_to_typeid.get(request.method), result) {
            (Some(typeid), result) => {
                link.reply(&match insert(core, typeid, result) {
                    Ok(made) => {
                        let (typeid, id) = (typeid.clone(), made.id.clone());
                        let address = Token::address(&core.address);
                        let exposed = made.advertised().map(str::to_owned).collect();
                        Reply::Proxy(exposed, Token { typeid, address, id })
                    }
                    Err(refusal) => Reply::Traceback(refusal),
                });
            }
            (None, Return::Value(value)) => link.reply(&Reply::Return(value)),
            (None, Return::Element(element)) => link.reply_element(element),
            (None, Return::Item(item)) => return link.reply_item(entry, item),
            (None, Return::Items(items)) => link.reply_items(&entry, items),
            (None, Return::Shared(object)) => {
                let (what, method) = (object.repr(), request.method);
                let why = "no method_to_typeid names it";
                let text = format!("{what}, the result of {method}(), is no plain data, and {why}");
                // Its own drop may panic, which is the reply then.
                drop(object);
                link.reply(&Reply::Unserializable(text));
            }
        },
    }
    let_go(entry);
}

/// What objects answer without having to expose it.
fn fallback(entry: &Entry, method: &str, link: &mut Link) {
    let object = &entry.object;
    match method {
        "__str__" | "__repr__" => link.reply(&Reply::Return(object.repr().into())),
        "#GETVALUE" => match object.value() {
            Ok(element) => link.reply_element(element),
            Err(exception) => link.reply(&Reply::Unserializable(exception.to_string())),
        },
        _ => {
            // CPython's words, with the typeid where it names the class.
            let exposed = entry.exposed.iter().map(|name| name.as_str().into()).collect();
            link.reply(&Reply::Traceback(format!(
                "AttributeError: method '{method}' of '{}' object is not in exposed={}",
                entry.typeid,
                Value::Set(exposed)
            )));
        }
    }
}

/// Carries out a request to the manager itself. An error is the text of a traceback.
fn function(core: &Arc<Core>, request: &Request<'_>, link: &mut Link) -> Result<Value, String> {
    if request.method == "create" {
        return create(core, request, link);
    }
    let call = Call::new(request, request.method, request.args, link);
    let text = |exception: Exception| exception.to_string();
    let none: [&str; 0] = [];
    let ident = |name| {
        let [ident] = call.bind(1, [name]).map_err(text)?;
        let ident = ident.map(|ident| ident.to::<String>()).transpose().map_err(text)?;
        Ok::<_, String>(ident.unwrap_or_default())
    };
    match request.method {
        "accept_connection" => ident("name").map(|_| Value::None),
        "incref" => {
            let ident = ident("ident")?;
            if core.objects.incref(&ident) { Ok(Value::None) } else { Err(unknown(&ident)) }
        }
        "decref" => {
            let ident = ident("ident")?;
            let found = core.objects.decref(&ident);
            core.changed();
            if found { Ok(Value::None) } else { Err(unknown(&ident)) }
        }
        "get_methods" => {
            let [token] = call.bind(1, ["token"]).map_err(text)?;
            let token = token.map(|token| token.pickle()).transpose().map_err(text)?;
            let token = token.and_then(|token| Token::read(&token, &core.settings.limits));
            let token = token.ok_or("TypeError: get_methods() takes a token")?;
            let entry = core.objects.get(&token.id).ok_or_else(|| unknown(&token.id))?;
            Ok(Value::Tuple(entry.advertised().map(Value::from).collect()))
        }
        method if !FUNCTIONS.contains(&method) => Err(unrecognized(method)),
        method => {
            call.bind(0, none).map_err(text)?;
            match method {
                "dummy" => Ok(Value::None),
                "debug_info" => Ok(core.objects.debug_info().into()),
                "number_of_objects" => Ok(core.objects.count().into()),
                "shutdown" if !core.settings.remote_shutdown => {
                    Err("PermissionError: clients may not shut this manager down".to_owned())
                }
                "shutdown" => {
                    call.shut_down_manager();
                    Ok(Value::None)
                }
                _ => Err(unrecognized(method)),
            }
        }
    }
}

fn unrecognized(function: &str) -> String {
    let functions = FUNCTIONS.join(", ");
    format!("AssertionError: '{function}' unrecognized; the manager's functions are: {functions}")
}

fn unknown(ident: &str) -> String {
    let why = "it was released, or belongs to another manager";
    format!("KeyError: no object has the id '{ident}': {why}")
}

/// `create(typeid, *args, **kwargs)`: calls the callable, and hands out its result with a reference
/// to it, which is the client's to drop.
fn create(core: &Arc<Core>, request: &Request<'_>, link: &mut Link) -> Result<Value, String> {
    let (typeid, args) = request.args.split_first().ok_or("TypeError: create() takes a typeid")?;
    let typeid = request.message.value(*typeid).and_then(String::try_from);
    let typeid = typeid.map_err(|error| format!("TypeError: a typeid: {error}"))?;
    let registration = core.settings.registry.get(&typeid).filter(|found| found.create_method);
    let registration = registration.ok_or_else(|| {
        let open = core.settings.registry.iter().filter(|(_, found)| found.create_method);
        let mut names: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        format!("KeyError: no typeid '{typeid}' is registered; there are: {}", names.join(", "))
    })?;
    let mut call = Call::new(request, &typeid, args, link);
    let result = (registration.callable)(&mut call).map_err(|exception| exception.to_string())?;
    let entry = insert(core, &typeid, result)?;
    let exposed = entry.advertised().map(Value::from).collect();
    Ok(Value::Tuple(vec![entry.id.as_str().into(), Value::Tuple(exposed)]))
}

/// Takes a result in as a shared object, with one reference. An error is the text of a traceback.
fn insert(core: &Core, typeid: &str, result: Return) -> Result<Arc<Entry>, String> {
    let most = core.settings.max_objects;
    let new = new_entry(&core.settings.registry, typeid, result.into_object());
    let made = core.objects.insert(new, most);
    made.ok_or_else(|| format!("MemoryError: {}", Error::Limit("number of objects", most as u64)))
}

/// What a client gets that asks for an object under this typeid.
pub(super) fn new_entry(
    registry: &HashMap<String, Registration>,
    typeid: &str,
    object: Arc<dyn SharedObject>,
) -> New {
    let registration = registry.get(typeid);
    let own = object.method_to_typeid();
    let owned = |(method, typeid): &(&str, &str)| ((*method).to_owned(), (*typeid).to_owned());
    let method_to_typeid = match registration {
        Some(found) if !found.method_to_typeid.is_empty() => found.method_to_typeid.clone(),
        _ if own.is_empty() => Arc::default(),
        _ => Arc::new(own.iter().map(owned).collect()),
    };
    let owners = registration.and_then(|found| found.exposed.clone());
    let by_owner =
        owners.is_some() || registration.is_some_and(|found| !found.method_to_typeid.is_empty());
    // The object's own iterators are for clients that use `DictProxy`, which need not be told of them. With an
    // `AutoProxy` it cannot be iterated over, as in CPython; if that had `__getitem__` alone, Python would
    // try 0 for a key.
    let hides_operators = !by_owner && method_to_typeid.contains_key("__iter__");
    let mut exposed = match owners {
        Some(exposed) => exposed,
        None => object.exposed().iter().map(|name| (*name).to_owned()).collect(),
    };
    // By `nack`, clients tell that an item belongs to the connection that takes it.
    let gives = exposed.iter().any(|name| name.starts_with("get"));
    if gives && queue::is_at_least_once(&*object) && !exposed.iter().any(|name| name == "nack") {
        exposed.push("nack".to_owned());
    }
    for method in method_to_typeid.keys() {
        if !exposed.contains(method) {
            exposed.push(method.clone());
        }
    }
    New { typeid: typeid.to_owned(), object, exposed, method_to_typeid, hides_operators }
}

/// An object by its id.
fn find(core: &Core, id: &str, link: &mut Link) -> Option<Arc<Entry>> {
    // Nearly always the one that was called before: to find it again takes no lock.
    let removals = core.objects.removals();
    if let Some((since, last)) = &link.last
        && *since == removals
        && let Some(entry) = last.upgrade().filter(|entry| entry.id == id)
    {
        return Some(entry);
    }
    let found = core.objects.get(id);
    link.last = found.as_ref().map(|entry| (removals, Arc::downgrade(entry)));
    found
}
