//! The whole system in one command: a manager, two producers and two consumers, each a process of its
//! own, and an account of every product at the end.
//!
//! `cargo run --release --example demo`

mod common;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use basemanager::{Authkey, Client, Manager, Queue};

const PRODUCERS: i64 = 2;
const CONSUMERS: i64 = 2;
const PRODUCTS: i64 = 100;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Puts its products, numbered so that no two in the system are alike.
fn produce(client: &Client, me: i64) -> Outcome<()> {
    let tasks = client.queue("task_queue")?;
    for number in 1..=PRODUCTS {
        let product = me * 1000 + number;
        tasks.put(product)?;
        println!("put {product}");
    }
    Ok(())
}

/// Takes products until the queue is shut down.
fn consume(client: &Client) -> Outcome<()> {
    let tasks = client.queue("task_queue")?;
    for item in &tasks {
        match item {
            Ok(product) => println!("got {product}"),
            Err(error) if error.is_shut_down() => break,
            Err(error) => return Err(error.into()),
        }
        tasks.task_done()?;
    }
    Ok(())
}

/// Starts this program again in a role, and prints what it says with its name before it.
fn spawn(
    role: &str,
    me: i64,
    address: &str,
    key: &str,
) -> Outcome<(Child, thread::JoinHandle<Vec<String>>)> {
    let mut child = Command::new(env::current_exe()?)
        .args([address, role, &me.to_string()])
        .env("MANAGER_AUTHKEY", key)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no pipe to the child")?;
    let name = format!("{role} {me}");
    let reader = thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.inspect(|line| println!("{name}: {line}")).collect()
    });
    Ok((child, reader))
}

fn manage() -> Outcome<bool> {
    // The key is random, and known to the children alone.
    let key: String =
        Authkey::process()?.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let tasks = Queue::new();
    let manager = Manager::new(&key).share("task_queue", &tasks);
    let handle = manager.bind("127.0.0.1:0")?.start()?;
    let address = handle.address().to_string();
    println!("manager: listening on {address}");

    let start = |role, count: i64| -> Outcome<Vec<_>> {
        (1..=count).map(|me| spawn(role, me, &address, &key)).collect()
    };
    let producers = start("producer", PRODUCERS)?;
    let consumers = start("consumer", CONSUMERS)?;
    let all = usize::try_from(PRODUCERS * PRODUCTS)?;
    let mut well = true;
    let mut finish = |children: Vec<(Child, thread::JoinHandle<Vec<String>>)>| -> Outcome<_> {
        let mut lines = Vec::new();
        for (mut child, reader) in children {
            lines.extend(reader.join().map_err(|_| "a reader panicked")?);
            well &= child.wait()?.success();
        }
        Ok(lines)
    };
    let put = finish(producers)?;
    if put.len() == all {
        tasks.join();
    }
    tasks.shutdown(false);
    let got = finish(consumers)?;

    // Each product: how often it was put, and how often got.
    let mut account = BTreeMap::<&str, (u32, u32)>::new();
    for line in put.iter().filter_map(|line| line.strip_prefix("put ")) {
        account.entry(line).or_default().0 += 1;
    }
    for line in got.iter().filter_map(|line| line.strip_prefix("got ")) {
        account.entry(line).or_default().1 += 1;
    }
    let once = account.values().filter(|times| **times == (1, 1)).count();
    println!("{} products put, {} got, {once} exactly once", put.len(), got.len());
    handle.shutdown();
    handle.join()?;
    Ok(well && once == all && account.len() == once)
}

fn run() -> Outcome<bool> {
    let (role, me) = (env::args().nth(2), env::args().nth(3));
    let me = || me.and_then(|me| me.parse().ok()).ok_or("a producer needs a number");
    match role.as_deref() {
        None => manage(),
        Some(role) => {
            let client = Client::connect(common::address(), common::authkey())?;
            if role == "producer" { produce(&client, me()?) } else { consume(&client) }?;
            Ok(true)
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("demo: some products are not accounted for");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
