//! A manager under load for long, while its clients are killed at random: an account of every item, and
//! of what the manager still holds at the end.
//!
//! `cargo test --release --all-features --test soak -- --ignored` goes on for `SOAK_SECONDS`, 600 when
//! unset; without `--ignored` for 10. `SOAK_SEED` repeats the choices of an earlier run, though not the
//! moments at which they meet the clients.
//!
//! Every client says each step before and after it. What must hold of `tasks`, which delivers at least
//! once, with a lease:
//! - What a producer was told is put, is done: some consumer was told so, or was killed while it asked.
//! - It is done once. It is delivered again only if who had it was killed, let the lease run out, or was
//!   told that it is too late.
//!
//! And of `plain`: nothing is delivered twice, and no more is lost than consumers were killed between
//! asking for an item and saying that they have it: each of those may have had one on its way. Of both,
//! nothing is delivered that nobody put.
//!
//! This is a program of its own, not libtest's, because the manager and the Rust clients are it, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

#[cfg(all(target_os = "linux", feature = "sync"))]
mod soak {
    use std::collections::HashMap;
    use std::env;
    use std::io::Write;
    use std::net::TcpStream;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use basemanager::sync::{Dict, DictProxy, ListProxy, Lock, LockProxy};
    use basemanager::{Client, Consumer, Manager, Queue, QueueProxy, Value};

    use crate::support::programs::Rng;
    use crate::support::{PATIENCE, Process, Python, pythons, say, snippet, until};

    const KEY: &str = "soak";
    const LEASE: Duration = Duration::from_secs(3);
    /// What the numbers of two producers differ by at least.
    const RANGE: u64 = 10_000_000;
    /// The manager's threads and objects while only this program is connected.
    const AT_REST: [usize; 2] = [3, 4];
    /// What the manager's memory may have grown by, in kB: the allocator keeps some for each thread.
    const GROWTH: usize = 16 * 1024;

    // The manager and the clients: processes of their own.

    pub(crate) fn part(args: &[String]) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match args[..] {
            ["manager"] => manager(),
            ["producer", address, queue, first] => producer(address, queue, first.parse().unwrap()),
            ["consumer", address, queue] => consumer(address, queue),
            ["locker", address] => locker(address),
            _ => panic!("{args:?}"),
        }
    }

    fn tell(what: &str, number: &str) {
        println!("{what} {number}.");
    }

    fn manager() {
        let tasks = Queue::options().maxsize(64).lease(LEASE).build();
        let plain = Queue::bounded(64);
        let lock = Lock::new_released_on_disconnect();
        let counts = Dict::new();
        let server = Manager::new(KEY)
            .register("tasks", move |_| tasks.clone())
            .register("plain", move |_| plain.clone())
            .register("lock", move |_| lock.clone())
            .register("counts", move |_| counts.clone())
            .register_sync_types()
            .handshake_timeout(Duration::from_secs(2))
            .bind("127.0.0.1:0")
            .unwrap();
        println!("listening on {}", server.address());
        server.serve_forever().unwrap();
    }

    fn pause() {
        thread::sleep(Duration::from_micros(u64::from(getrandom::u32().unwrap()) % 20_000));
    }

    fn queue(address: &str, typeid: &str) -> QueueProxy {
        Client::connect(address, KEY).unwrap().queue(typeid).unwrap()
    }

    fn producer(address: &str, typeid: &str, first: u64) {
        let queue = queue(address, typeid);
        for number in first.. {
            let length = [0, 100, 20_000][getrandom::u32().unwrap() as usize % 3];
            tell("try", &number.to_string());
            queue.put(format!("{number} {}", "x".repeat(length))).unwrap();
            tell("put", &number.to_string());
            pause();
        }
    }

    fn consumer(address: &str, typeid: &str) {
        let mut queue = queue(address, typeid).consumer();
        loop {
            tell("ask", "0");
            let number = number(queue.get().unwrap());
            tell("got", &number);
            if number != "stop" {
                pause();
            }
            if typeid == "tasks" {
                tell("doing", &number);
                match queue.task_done() {
                    Ok(()) => tell("done", &number),
                    Err(error) if error.to_string().contains("too late") => tell("late", &number),
                    Err(error) => panic!("{error}"),
                }
            }
            if number == "stop" {
                return;
            }
        }
    }

    fn number(item: Value) -> String {
        let text: String = item.to().unwrap();
        text.split(' ').next().unwrap().to_owned()
    }

    /// Holds the lock now and then. That it is exclusive is for the counters to see.
    fn locker(address: &str) {
        let lock = Client::connect(address, KEY).unwrap().create("lock", ()).unwrap();
        let lock: LockProxy = lock.into();
        loop {
            let guard = lock.lock().unwrap();
            thread::yield_now();
            drop(guard);
            pause();
        }
    }

    // The account.

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Part {
        Producer(&'static str),
        Consumer(&'static str),
        /// Counts under the lock, or holds it only.
        Lock,
    }

    const PARTS: [Part; 16] = [
        Part::Producer("tasks"),
        Part::Producer("tasks"),
        Part::Producer("tasks"),
        Part::Consumer("tasks"),
        Part::Consumer("tasks"),
        Part::Consumer("tasks"),
        Part::Consumer("tasks"),
        Part::Producer("plain"),
        Part::Producer("plain"),
        Part::Producer("plain"),
        Part::Consumer("plain"),
        Part::Consumer("plain"),
        Part::Consumer("plain"),
        Part::Lock,
        Part::Lock,
        Part::Lock,
    ];

    struct Worker {
        part: Part,
        process: Process,
        /// What it has and has not done, and whether it has asked for that to be done.
        holds: Option<(u64, bool)>,
        /// Whether it has asked for an item, and not said that it has got one.
        asks: bool,
    }

    /// What is known of an item, by its number.
    #[derive(Clone, Debug, Default)]
    struct Item {
        tried: bool,
        put: bool,
        got: u32,
        done: u32,
        /// How often it may come again: its holder was killed, or too slow.
        excused: u32,
        /// A holder was killed while it said that it is done.
        perhaps_done: bool,
    }

    #[derive(Default)]
    struct Account {
        items: HashMap<&'static str, HashMap<u64, Item>>,
        counted: u64,
        highest: u64,
        killed: HashMap<String, u64>,
        /// Lines of theirs that have no end.
        cut: Vec<String>,
        /// The consumers of `plain` that were killed while they asked for an item.
        asking: u64,
        lapsed: u64,
        late: u64,
    }

    impl Account {
        fn item(&mut self, queue: &'static str, number: u64) -> &mut Item {
            self.items.entry(queue).or_default().entry(number).or_default()
        }

        fn hear(&mut self, worker: &mut Worker, lines: Vec<String>) {
            for line in lines {
                // What was cut off as its writer was killed was not said.
                let Some(said) = line.strip_suffix('.') else {
                    self.cut.push(line);
                    continue;
                };
                let (what, number) = said.split_once(' ').unwrap();
                worker.asks = what == "ask";
                if number == "stop" {
                    continue;
                }
                let number: u64 = number.parse().unwrap();
                match (what, worker.part) {
                    ("ask", Part::Consumer(_)) => {}
                    ("try", Part::Producer(queue)) => self.item(queue, number).tried = true,
                    ("put", Part::Producer(queue)) => self.item(queue, number).put = true,
                    ("got", Part::Consumer(queue)) => {
                        self.item(queue, number).got += 1;
                        worker.holds = Some((number, false));
                    }
                    ("doing", Part::Consumer(_)) => worker.holds = Some((number, true)),
                    ("done", Part::Consumer(queue)) => {
                        self.item(queue, number).done += 1;
                        worker.holds = None;
                    }
                    ("late", Part::Consumer(queue)) => {
                        self.item(queue, number).excused += 1;
                        self.late += 1;
                        worker.holds = None;
                    }
                    ("counted", Part::Lock) => {
                        self.counted += 1;
                        self.highest = self.highest.max(number);
                    }
                    _ => panic!("{line:?} of {:?}", worker.part),
                }
            }
        }

        fn kill(&mut self, mut worker: Worker) {
            worker.process.kill();
            let mut ended = worker.process.end(PATIENCE);
            assert_eq!(ended.code, None, "it had ended by itself: {ended:?}");
            let lines = std::mem::take(&mut ended.stdout);
            self.hear(&mut worker, lines);
            *self.killed.entry(format!("{:?}", worker.part)).or_default() += 1;
            self.asking += u64::from(worker.asks && worker.part == Part::Consumer("plain"));
            if let (Part::Consumer(queue), Some((number, asked))) = (worker.part, worker.holds) {
                let item = self.item(queue, number);
                item.excused += 1;
                item.perhaps_done |= asked;
            }
        }

        fn killed(&self, part: Part) -> u64 {
            self.killed.get(&format!("{part:?}")).copied().unwrap_or(0)
        }

        fn check(&mut self, count: u64) {
            let mut faults = Vec::new();
            let tasks = self.items.remove("tasks").unwrap_or_default();
            let (mut put, mut again, mut perhaps) = (0_u64, 0, 0_u64);
            for (number, item) in &tasks {
                put += u64::from(item.put);
                again += item.got.saturating_sub(1);
                perhaps += u64::from(item.done == 0 && item.perhaps_done);
                let is_done = item.done == 1 || (item.done == 0 && item.perhaps_done);
                let is_lost = (item.put || item.got > 0) && !is_done;
                if is_lost || item.got > 1 + item.excused || !item.tried {
                    faults.push(format!("tasks {number}: {item:?}"));
                }
            }
            say(&format!(
                "tasks: {put} put and done ({perhaps} of them by a consumer killed as it said so); {again} \
                 deliveries again; {} leases left to run out; {} done too late",
                self.lapsed, self.late
            ));
            let plain = self.items.remove("plain").unwrap_or_default();
            let (mut put, mut lost) = (0_u64, 0_u64);
            for (number, item) in &plain {
                put += u64::from(item.put);
                lost += u64::from(item.put && item.got == 0);
                if item.got > 1 || !item.tried {
                    faults.push(format!("plain {number}: {item:?}"));
                }
            }
            let asking = self.asking;
            say(&format!(
                "plain: {put} put; {lost} lost with one of {asking} killed as they asked"
            ));
            if lost > asking {
                faults.push(format!("plain: {lost} lost"));
            }
            // Who was killed may have counted without saying so.
            let (counted, locks) = (self.counted, self.killed(Part::Lock));
            say(&format!("lock: {count} counted under it, {counted} of them said; {locks} killed"));
            if count < counted || count > counted + locks || self.highest > count {
                faults
                    .push(format!("count: {count}, {counted} said, the highest {}", self.highest));
            }
            let mut killed: Vec<_> = self.killed.iter().collect();
            killed.sort();
            say(&format!("killed: {killed:?}; cut off {:?}", self.cut));
            // One kill cuts one line at most.
            let kills: u64 = self.killed.values().sum();
            assert!(self.cut.len() as u64 <= kills, "{} lines without an end", self.cut.len());
            assert!(
                faults.is_empty(),
                "{} faults: {:#?}",
                faults.len(),
                &faults[..faults.len().min(20)]
            );
        }
    }

    // The run.

    /// What the manager holds: threads, file descriptors, objects, and kB of memory.
    #[derive(Debug)]
    struct Stored {
        threads: usize,
        files: usize,
        objects: usize,
        memory: usize,
    }

    struct Run {
        manager: Process,
        address: String,
        client: Client,
        rng: Rng,
        producers: u64,
        workers: Vec<Worker>,
        /// Connections that say nothing, or half of something.
        strangers: Vec<TcpStream>,
        /// Holders that are there, and never finish what they took.
        idle: Vec<(Instant, Consumer)>,
        account: Account,
    }

    fn this(args: &[&str]) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("part").args(args);
        command
    }

    pub(crate) fn run(length: Duration) {
        let seed = env::var("SOAK_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = seed.unwrap_or_else(|| u64::from(getrandom::u32().unwrap()));
        say(&format!("{length:?} with SOAK_SEED={seed}"));
        let mut manager = Process::start("manager", &mut this(&["manager"]));
        let address = manager.address();
        let client = Client::connect(&address, KEY).unwrap();
        let mut run = Run {
            manager,
            address,
            client,
            rng: Rng::new(seed),
            producers: 0,
            workers: Vec::new(),
            strangers: Vec::new(),
            idle: Vec::new(),
            account: Account::default(),
        };
        let counts: DictProxy = run.client.create("counts", ()).unwrap().into();
        counts.insert("count", 0).unwrap();
        let [tasks, plain] = ["tasks", "plain"].map(|typeid| run.client.queue(typeid).unwrap());
        let lock: LockProxy = run.client.create("lock", ()).unwrap().into();
        drop(lock.lock().unwrap());
        assert_eq!((tasks.len().unwrap(), plain.len().unwrap()), (0, 0));
        // What it was started with may be open, too, and so may be more files than it opened itself.
        until("only this program is connected", PATIENCE, || run.manager.threads() == AT_REST[0]);
        let before = run.settled(run.manager.files());
        say(&format!("before: {before:?}"));

        for part in PARTS {
            run.hire(part);
        }
        let end = Instant::now() + length;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(50 + run.rng.below(200) as u64));
            run.step();
        }
        run.wind_up(&tasks, &plain);
        // Nobody holds it: whoever did is gone.
        drop(lock.lock_timeout(PATIENCE).unwrap().expect("the lock is free"));
        let count: u64 = counts.get_as("count").unwrap().unwrap();
        run.account.check(count);
        let after = run.settled(before.files);
        say(&format!("after: {after:?}"));
        assert!(after.memory <= before.memory + GROWTH, "memory grew: {before:?}, {after:?}");
        run.client.shutdown().unwrap();
        run.manager.end(PATIENCE).well();
    }

    impl Run {
        fn hire(&mut self, part: Part) {
            let pythons = pythons_quietly();
            // Half of them are Python's.
            let python = self.rng.below(2) == 0 && !pythons.is_empty();
            let (name, mut args) = match part {
                Part::Producer(queue) => ("producer", vec![queue.to_owned()]),
                Part::Consumer(queue) => ("consumer", vec![queue.to_owned()]),
                Part::Lock => (if python { "counter" } else { "locker" }, Vec::new()),
            };
            if name == "producer" {
                self.producers += 1;
                args.push((self.producers * RANGE).to_string());
            }
            let mut all = vec![name, self.address.as_str()];
            all.extend(args.iter().map(String::as_str));
            let process = if python {
                snippet(&pythons[self.rng.below(pythons.len())], "soak.py", &all)
            } else {
                Process::start(name, &mut this(&all))
            };
            self.workers.push(Worker { part, process, holds: None, asks: false });
        }

        fn step(&mut self) {
            for worker in &mut self.workers {
                let lines = worker.process.printed();
                self.account.hear(worker, lines);
            }
            match self.rng.below(10) {
                0..6 => {
                    let index = self.rng.below(self.workers.len());
                    let worker = self.workers.swap_remove(index);
                    let part = worker.part;
                    self.account.kill(worker);
                    self.hire(part);
                }
                6 => self.visit(),
                7 | 8 => self.intrude(),
                _ => self.idle(),
            }
        }

        /// A client that comes, makes objects, and goes in order.
        fn visit(&mut self) {
            let client = Client::connect(&self.address, KEY).unwrap();
            let list: ListProxy = client.create("list", ()).unwrap().into();
            list.push("item").unwrap();
            client.queue("Queue").unwrap().put("x".repeat(20_000)).unwrap();
        }

        /// A connection that never proves its key.
        fn intrude(&mut self) {
            if self.strangers.len() > 20 {
                let index = self.rng.below(self.strangers.len());
                self.strangers.swap_remove(index);
            }
            let mut stranger = TcpStream::connect(&self.address).unwrap();
            let length = self.rng.below(12);
            // The manager may have closed it already.
            let _ = stranger.write_all(&self.rng.bytes(length));
            self.strangers.push(stranger);
        }

        /// A consumer that takes an item, and does nothing with it until its lease has run out.
        fn idle(&mut self) {
            let now = Instant::now();
            self.idle.retain(|(since, _)| now.duration_since(*since) < 2 * LEASE);
            let mut consumer = queue(&self.address, "tasks").consumer();
            if let Some(item) = consumer.get_timeout(Duration::from_millis(100)).unwrap() {
                let number = number(item).parse().unwrap();
                let item = self.account.item("tasks", number);
                item.got += 1;
                item.excused += 1;
                self.account.lapsed += 1;
                self.idle.push((now, consumer));
            }
        }

        /// Lets the queues run empty, and everybody go.
        fn wind_up(&mut self, tasks: &QueueProxy, plain: &QueueProxy) {
            let (consumers, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.workers)
                .into_iter()
                .partition(|worker| matches!(worker.part, Part::Consumer(_)));
            for worker in others {
                self.account.kill(worker);
            }
            // A dead producer that waits for room is found to be one before it gets it.
            until("plain is empty", PATIENCE, || plain.len().unwrap() == 0);
            let all_done = tasks.clone();
            let (say, word) = std::sync::mpsc::channel();
            thread::spawn(move || say.send(all_done.join()));
            word.recv_timeout(PATIENCE).expect("all tasks are done").unwrap();
            for worker in &consumers {
                let Part::Consumer(queue) = worker.part else { continue };
                if queue == "tasks" { tasks } else { plain }.put("stop").unwrap();
            }
            for mut worker in consumers {
                let ended = worker.process.end(PATIENCE).well();
                self.account.hear(&mut worker, ended.stdout);
            }
            self.strangers.clear();
            self.idle.clear();
        }

        fn held(&self) -> Stored {
            let objects = self.client.number_of_objects().unwrap();
            let manager = &self.manager;
            let (threads, files) = (manager.threads(), manager.files());
            Stored { threads, files, objects, memory: manager.resident() }
        }

        /// What the manager holds when those who went are gone for it, too: no more than at its start.
        fn settled(&self, files: usize) -> Stored {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let held = self.held();
                if ([held.threads, held.objects], held.files) == (AT_REST, files) {
                    return held;
                }
                assert!(
                    Instant::now() < deadline,
                    "it has not let go of all: {held:?}, files {files}"
                );
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// All interpreters, told of once.
    fn pythons_quietly() -> &'static [Python] {
        use std::sync::OnceLock;
        static FOUND: OnceLock<&[Python]> = OnceLock::new();
        FOUND.get_or_init(pythons)
    }
}

#[cfg(all(target_os = "linux", feature = "sync"))]
fn main() {
    use std::time::Duration;

    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = args.split_first()
        && first == "part"
    {
        return soak::part(rest);
    }
    // A filter for other tests.
    let mut filters = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
    let is_meant =
        filters.peek().is_none() || filters.any(|filter| "soak".contains(filter.as_str()));
    if !is_meant || args.iter().any(|arg| arg == "--list") {
        return;
    }
    let length = if args.iter().any(|arg| arg == "--ignored" || arg == "--include-ignored") {
        std::env::var("SOAK_SECONDS").map_or(600, |seconds| seconds.parse().expect("a number"))
    } else {
        10
    };
    soak::run(Duration::from_secs(length));
}

#[cfg(not(all(target_os = "linux", feature = "sync")))]
fn main() {
    support::say("skipped: this needs Linux, and the feature sync");
}
