//! The long help: how to read the lines and the JSON, and what a user has to know.

/// Printed after the options.
pub(super) const HELP: &str = "\
Listens on LISTEN, and opens a connection to MANAGER for each client. The tap needs no key. Without --guard, it forwards \
all bytes unchanged. Clients and manager may be Python or Rust. Press Ctrl-C to stop. Times are in UTC.

A line is a call with its reply, for example:

  13:48:31.540 #5 task_queue.get(timeout=1.5) ← raised _queue.Empty  waited 1.50 s

It shows the time, the connection, the call, its reply, and how long it took. `raised`: the method raised an exception. \
`failed`: the manager could not make the call. `waited`: 0.1 s or more. `… waiting`: no reply for 1 s yet.

If a client sends a proxy to a CPython manager, the manager connects to itself through the tap, with its process's \
authkey. Set `multiprocessing.current_process().authkey` to the manager's key there.

Recordings and pages contain all items unencrypted, and handshakes that allow an offline guess of a weak authkey. Share \
them with care.

--json prints an object for each event, with `time` (seconds since 1970), `connection` and `event`:
  opened      address
  handshake   proved, text, seconds
  call        id, typeid, object, method, args, outcome, text, seconds. A call without a reply after 1 s is also printed
              with outcome `waiting`; the others are return, proxy, error, traceback, unserializable, unreadable, and
              unanswered (text: the side that ended the connection, client, manager or tap)
  foreign, unreadable: sender, text      lost: sender, frames      note: text      closed: nothing else

Limits: the tap keeps 64 KiB of each frame, and relays 1,024 connections at a time. A page shows 20,000 frames. --guard \
refuses requests over 64 MiB. If frames pass faster than they can be printed and saved, a line tells how many were left \
out.

Examples: basemanager tap 127.0.0.1:6000 127.0.0.1:5000
          basemanager tap 127.0.0.1:6000 127.0.0.1:5000 --calls --save session.tap
          basemanager tap --replay session.tap -vv | less";
