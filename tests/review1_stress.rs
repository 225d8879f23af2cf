//! What a review tried: no wake-up is missed in a queue with bounds in bytes and items.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use basemanager::{Queue, Value};

#[test]
fn producers_of_all_sizes_with_timeouts_never_stall() {
    for maxsize in [0, 3] {
        for at_least_once in [false, true] {
            let letters = Queue::new();
            let options = Queue::options().maxsize(maxsize).max_bytes(1000);
            let options = if at_least_once { options.dead_letters(2, &letters) } else { options };
            let queue = options.build();
            let (tx, rx) = mpsc::channel();
            for producer in 0..8_usize {
                let (queue, tx) = (queue.clone(), tx.clone());
                thread::spawn(move || {
                    for n in 0..1500_usize {
                        let item = Value::Bytes(vec![0; (n * 37 + producer * 101) % 900]);
                        if n % 7 == 3 {
                            while queue.put_timeout(item.clone(), Duration::from_micros(50)).is_err() {}
                        } else {
                            queue.put(item).unwrap();
                        }
                    }
                    tx.send(()).unwrap();
                });
            }
            for consumer in 0..3 {
                let queue = queue.clone();
                thread::spawn(move || {
                    for n in 0_usize.. {
                        queue.get().unwrap();
                        if at_least_once {
                            if (n + consumer) % 11 == 0 { queue.nack().unwrap() } else { queue.task_done().unwrap() }
                        }
                    }
                });
            }
            for _ in 0..8 {
                rx.recv_timeout(Duration::from_secs(20)).expect("a producer stalled");
            }
            println!("{maxsize} {at_least_once} done, {} letters", letters.len());
        }
    }
}
