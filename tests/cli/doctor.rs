//! `doctor`: what it says of what may be at an address.

use std::fs;
use std::io::{Read, Write, pipe};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use crate::support::{TempDir, python_client, pythons};
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
}

#[test]
fn silent_service_is_named_after_a_question() {
    let mut served = Served::new(&["--metrics", "127.0.0.1:0"]);
    let page = served.process.line();
    let page = page.strip_prefix("metrics at http://").unwrap().strip_suffix("/metrics").unwrap();
    assert!(doctor(page).failed(3).contains("a web server"));
    let web = doctor(&service(b"HTTP/1.1 400 Bad Request\r\n\r\n", true)).failed(3);
    assert!(web.contains("a web server"), "{web}");
    let silent = doctor(&service(b"", true)).failed(3);
    assert!(silent.contains("says nothing"), "{silent}");
}

#[test]
fn greeting_in_parts_is_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            for part in [&b"\0\0"[..], b"\0\x1f#CHALL", b"ENGE#", b"{2345678901234567890"] {
                let _ = stream.write_all(part);
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    let ran = doctor(&address);
    let out = String::from_utf8(ran.stdout).unwrap();
    // The random message of that dialect may begin like the name of a digest.
    assert!(out.contains("greeting of a manager") && out.contains("HMAC-MD5"), "{out}");
    let part = doctor(&service(b"\0\0\0\x3b#CHAL", false)).failed(3);
    assert!(part.contains("9 bytes of its greeting"), "{part}");
}

#[test]
fn times_are_those_of_the_service() {
    let ran = doctor(&service(b"HTTP/1.1 400 Bad Request\r\n\r\n", true));
    let out = String::from_utf8(ran.stdout).unwrap();
    let took = out.lines().find_map(|line| line.strip_prefix("answer   in ")).unwrap();
    let took: f64 = took.strip_suffix(" ms, when asked").unwrap().parse().unwrap();
    assert!(took < 900.0, "{out}");
}

#[test]
fn address_that_is_no_host_and_port_is_explained() {
    for (address, why) in [
        ("", "is empty: write host:port, such as 127.0.0.1:5000"),
        ("foo", "has no port: write host:port, such as foo:5000"),
        ("127.0.0.1", "has no port: write host:port, such as 127.0.0.1:5000"),
        ("[::1]", "has no port: write host:port, such as [::1]:5000"),
        ("::1", "write [::1]:5000"),
        ("::1:6000", "write [::1]:6000"),
        ("2001:db8::abcd", "write [2001:db8::abcd]:5000"),
        ("foo:bar", "a number from 1 to 65535"),
        ("foo:0", "the port that it chose"),
        ("http://foo:5000/", "is a URL"),
    ] {
        let ran = doctor(address);
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "", "{address}");
        let failed = ran.failed(2);
        assert!(failed.contains(why), "{address}: {failed}");
    }
    let missing = doctor("nohost.invalid:5").failed(3);
    assert!(missing.contains("cannot find the host"), "{missing}");
}

#[test]
fn wildcard_address_is_explained() {
    let served = Served::new(&[]);
    let port = served.address.rsplit_once(':').unwrap().1;
    for host in ["0.0.0.0", ""] {
        let ran = doctor(&format!("{host}:{port}"));
        let out = String::from_utf8_lossy(&ran.stdout);
        assert!(out.contains("for a manager to listen on"), "{out}");
        assert!(out.contains("basemanager 0."), "{out}");
        let failed = ran.failed(2);
        assert!(failed.contains(&format!("use 127.0.0.1:{port} on this host")), "{failed}");
    }
}

#[test]
fn unix_socket_is_diagnosed_like_a_port() {
    let dir = TempDir::new();
    let served = Served::at(&dir.path("manager"), &[]);
    let out = doctor(&served.address).ok();
    for part in ["connect", "answer", "SHA-256", "accepted by both sides", "basemanager 0."] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let [file, left, ssh] = ["file", "left", "ssh"].map(|name| dir.path(name));
    fs::write(&file, "").unwrap();
    drop(UnixListener::bind(&left).unwrap());
    let listener = UnixListener::bind(&ssh).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        }
    });
    for (path, why) in [
        (&dir.path("missing"), "there is no file"),
        (&dir.path(""), "is a directory"),
        (&file, "is a regular file"),
        (&"/dev/null".to_owned(), "is a device"),
        (&left, "the manager that made this file has ended"),
        (&ssh, "an SSH server"),
        (&"@basemanager-test-nobody".to_owned(), "nothing listens"),
    ] {
        let failed = doctor(path).failed(3);
        assert!(failed.contains(why), "{path}: {failed}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn full_backlog_of_a_unix_socket_is_named() {
    let dir = TempDir::new();
    let path = dir.path("full");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let failed = doctor(&path).failed(3);
    assert!(failed.contains("hangs, or is overloaded"), "{failed}");
}

#[test]
fn closed_stdout_is_no_failure() {
    let served = Served::new(&[]);
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = basemanager(&["doctor", "--address", &served.address]);
    let ran = command.stdout(writer).output().unwrap();
    assert_eq!((ran.status.code(), String::from_utf8_lossy(&ran.stderr).as_ref()), (Some(0), ""));
}
