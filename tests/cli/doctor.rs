//! `doctor`: what it says of what may be at an address.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::support::{python_client, pythons};
use crate::{Ran, Served, basemanager, run};

fn doctor(address: &str) -> Ran {
    run(basemanager(&["doctor", "--address", address]), b"")
}

/// A service that says this at once, or when it is asked.
fn service(greeting: &'static [u8], waits: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                if waits {
                    let _ = stream.read(&mut [0; 100]);
                }
                let _ = stream.write_all(greeting);
                let _ = stream.read(&mut [0; 100]);
            });
        }
    });
    address
}

#[test]
fn our_manager_is_well() {
    let served = Served::new(&[]);
    let out = doctor(&served.address).ok();
    for part in ["connect", "SHA-256", "accepted by both sides", "basemanager 0.", "all is well"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn managers_of_cpython_are_recognized() {
    for python in pythons() {
        let code = "s = M(('127.0.0.1', 0), b'cli').get_server()
print('listening on 127.0.0.1:%d' % s.address[1], flush=True)
s.serve_forever()
";
        let mut manager = python_client(python, code, "", "");
        let out = doctor(&manager.address()).ok();
        let dialect = if python.version < [3, 12, 0] { "HMAC-MD5" } else { "SHA-256" };
        assert!(out.contains(dialect) && out.contains("Python's"), "{python}: {out}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let served = Served::new(&[]);
    let mut wrong = basemanager(&["doctor", "--address", &served.address]);
    wrong.env("MANAGER_AUTHKEY", "another");
    let wrong = run(wrong, b"").failed(4);
    assert!(wrong.contains("MANAGER_AUTHKEY"), "{wrong}");
    let (closed, _guard) = crate::support::dead_address();
    assert!(doctor(&closed).failed(3).contains("nothing listens"));
    let ssh = doctor(&service(b"SSH-2.0-OpenSSH_9.6\r\n", false)).failed(3);
    assert!(ssh.contains("an SSH server"), "{ssh}");
    let other = doctor(&service(b"\x00\x01hello", false)).failed(3);
    assert!(other.contains("another service"), "{other}");
    assert!(doctor("no-port").failed(2).contains("no address"));
}

#[test]
fn silent_service_is_named_after_a_question() {
    let web = doctor(&service(b"HTTP/1.1 400 Bad Request\r\n\r\n", true)).failed(3);
    assert!(web.contains("a web server"), "{web}");
    let silent = doctor(&service(b"", true)).failed(3);
    assert!(silent.contains("says nothing"), "{silent}");
}

#[test]
fn wildcard_address_is_explained() {
    let served = Served::new(&[]);
    let port = served.address.rsplit_once(':').unwrap().1;
    let ran = doctor(&format!("0.0.0.0:{port}"));
    let out = String::from_utf8(ran.stdout).unwrap();
    assert!(out.contains("for a manager to listen on"), "{out}");
}
