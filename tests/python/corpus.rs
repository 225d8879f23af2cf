//! Every object that Python pickles goes producer → manager → consumer unharmed.

use std::thread;

use crate::support::{PATIENCE, Python, pythons, say, snippet};
use basemanager::{Client, Error, Manager, Queue, Result, ServerHandle, Value};

/// What `corpus.py` puts last.
const END: &str = "the end of the corpus";

fn manager() -> Result<ServerHandle> {
    let (first, second) = (Queue::new(), Queue::new());
    Manager::new("producer")
        .register("first", move |_| first.clone())
        .register("second", move |_| second.clone())
        .bind("127.0.0.1:0")?
        .start()
}

/// Puts the corpus in one process and compares it in another; gives what they say of it.
fn exchange(python: &Python, address: &str, put: [&str; 2], got: [&str; 2]) -> String {
    let mut consumer = snippet(python, "corpus.py", &[address, got[0], got[1]]);
    let mut producer = snippet(python, "corpus.py", &[address, put[0], put[1]]);
    let sent = producer.end(PATIENCE).well().stdout;
    let received = consumer.end(PATIENCE).well().stdout;
    assert_eq!(sent, received);
    sent.concat()
}

#[test]
fn every_object_arrives_as_it_was_put() -> Result<()> {
    for python in pythons() {
        let manager = manager()?;
        let address = manager.address().to_string();
        let said = exchange(python, &address, ["put", "first"], ["got", "first"]);
        say(&format!("{python}: {said}"));
    }
    Ok(())
}

/// A Rust consumer opens each item and puts it again: the same object, though what was shared within
/// it may have become several.
#[test]
fn every_object_survives_a_rust_client() -> Result<()> {
    for python in pythons() {
        let manager = manager()?;
        let address = manager.address().to_string();
        let client = Client::connect(manager.address(), "producer")?;
        let hop = thread::spawn(move || {
            let (first, second) = (client.queue("first")?, client.queue("second")?);
            let mut opened = 0;
            loop {
                let item = first.get_timeout(PATIENCE)?.ok_or(Error::TimedOut)?;
                let last = item.as_str() == Some(END);
                opened += usize::from(!matches!(item, Value::Opaque(_)));
                second.put(item)?;
                if last {
                    return Ok::<_, Error>(opened);
                }
            }
        });
        let said = exchange(python, &address, ["hop", "first"], ["hopped", "second"]);
        let opened = hop.join().map_err(|_| Error::Disconnected)??;
        say(&format!("{python}: {said}, {opened} opened in Rust"));
        assert!(opened > 100);
    }
    Ok(())
}
