//! What a review found: a producer that reads nothing keeps others from the room in a queue.

#![allow(clippy::unwrap_used)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use basemanager::{Manager, Queue, Value};
use raw::Raw;

fn request(id: &str, method: &str, arg: Option<&[u8]>) -> Vec<u8> {
    let text = |text: &str| [&[0x8c, u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    let args = arg.map_or(b")".to_vec(), |arg| [b"B", &u32::try_from(arg.len()).unwrap().to_le_bytes()[..], arg, b"\x85"].concat());
    let body = [b"\x80\x04(".to_vec(), text(id), text(method), args, b"}t.".to_vec()].concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Item 29: room is for whoever can use it.
#[test]
fn who_stops_reading_keeps_no_room_from_others() {
    const BIG: usize = 60_000;
    let big = Queue::new();
    let small = Queue::options().max_bytes(1000).build();
    let server = Manager::new("key").share("big", &big).share("small", &small);
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    let id = |typeid| Raw::create(&address, "key", typeid);
    let (big_id, small_id) = (id("big"), id("small"));
    let get = request(&big_id, "get", None);
    for _ in 0..1000 {
        big.put(Value::Bytes(vec![1; BIG])).unwrap();
    }
    // How many replies a connection takes that nobody reads.
    let mut first = Raw::accepted(&address, "key");
    let before = big.len();
    loop {
        let at = big.len();
        first.send(&get);
        thread::sleep(Duration::from_millis(20));
        if big.len() == at {
            break;
        }
    }
    let taken = before - big.len();
    println!("{taken} replies fit");
    for less in 1..4 {
        while small.try_get().unwrap().is_some() {}
        small.put(Value::Bytes(vec![0; 900])).unwrap();
        let mut stuck = Raw::accepted(&address, "key");
        for _ in 0..taken - less {
            stuck.send(&get);
            thread::sleep(Duration::from_millis(5));
        }
        let put = request(&small_id, "put", Some(&[2; 900]));
        stuck.send(&[get.clone(), put].concat());
        thread::sleep(Duration::from_millis(300));
        let own = small.clone();
        let honest = thread::spawn(move || {
            let start = Instant::now();
            let put = own.put_timeout(Value::Bytes(vec![3; 900]), Duration::from_secs(6));
            put.map(|()| start.elapsed())
        });
        thread::sleep(Duration::from_millis(300));
        assert_eq!(small.get().unwrap(), Value::Bytes(vec![0; 900]));
        thread::sleep(Duration::from_millis(500));
        let len = small.len();
        let done = honest.join().unwrap();
        println!("less {less}: {len} items after the room came, honest: {done:?}");
        assert_eq!(len, 1, "{less}: room, a producer that waits for it, and no item; {done:?}");
        drop(stuck);
    }
}
