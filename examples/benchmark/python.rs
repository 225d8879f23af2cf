//! Unmodified Python clients, of this crate's manager and of CPython's.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::child::Child;
use crate::flows::count;
use crate::load::median;
use crate::server::Server;

/// The first Python that speaks HMAC-SHA256: `PYTHON`, or one on the path. With its version.
pub(crate) fn find() -> Option<(OsString, String)> {
    let usual = ["python3", "python3.14", "python3.13", "python3.12"].map(OsString::from);
    let names = std::env::var_os("PYTHON").map_or(usual.to_vec(), |python| vec![python]);
    names.into_iter().find_map(|python| {
        let program =
            "import sys; print(sys.version.split()[0]); sys.exit(sys.version_info < (3, 12))";
        let output = Command::new(&python).args(["-c", program]).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some((python, version))
    })
}

/// What a client says of a round: how often, in how many seconds, the median of seconds. The clients of a side take
/// turns to choose one of its servers.
pub(crate) fn rounds<const N: usize>(
    sides: [(&str, &[&Server]); N],
    clients: usize,
    python: &OsString,
    (rounds, time): (usize, Duration),
) -> Result<[Vec<[f64; 2]>; N]> {
    let mut running = Vec::new();
    for (role, servers) in sides {
        let start = |server: &&Server| {
            let port = server.address.rsplit(':').next().unwrap_or_default();
            Child::python(&format!("a Python client of {}", server.name), python, &[role, port])
        };
        let chosen = servers.iter().cycle().take(clients);
        let mut clients = chosen.map(start).collect::<Result<Vec<_>>>()?;
        for client in &mut clients {
            client.line()?;
        }
        running.push(clients);
    }
    let mut results = [(); N].map(|()| Vec::new());
    for _ in 0..rounds {
        for (clients, results) in running.iter_mut().zip(&mut results) {
            for client in clients.iter_mut() {
                client.say(&time.as_secs_f64().to_string())?;
            }
            let (mut rate, mut medians) = (0.0, Vec::new());
            for client in clients {
                let line = client.line()?;
                let numbers =
                    line.split(' ').map(str::parse).collect::<std::result::Result<Vec<f64>, _>>();
                let numbers = numbers?;
                let [times, seconds, middle] = numbers[..] else { return Err(line.into()) };
                rate += times / seconds;
                medians.push(middle);
            }
            results.push([rate, median(medians)]);
        }
        eprint!(".");
    }
    Ok(results)
}

/// Clients that put and get in turn; a row of the table.
pub(crate) fn turns(
    name: &str,
    clients: usize,
    python: &OsString,
    servers: [&Server; 2],
    plan: (usize, Duration),
) -> Result<String> {
    let [own, other] =
        rounds([("turn", &servers[..1]), ("turn", &servers[1..])], clients, python, plan)?;
    let ratio = median(own.iter().zip(&other).map(|([own, _], [other, _])| own / other));
    // A turn is two operations; the latency is half of a turn's.
    let rate = |of: &[[f64; 2]]| count(2.0 * median(of.iter().map(|[rate, _]| *rate)));
    let (own_rate, other_rate) = (rate(&own), rate(&other));
    let latency = median(own.iter().map(|[_, middle]| middle * 1e6 / 2.0));
    Ok(format!(
        "| {name}: put and get in turn, Python clients: {clients} | {own_rate} | – | – | \
         {other_rate} | {latency:.0} | – | – | – | {ratio:.2} |"
    ))
}

/// A client that connects, gets a proxy and calls it once; what is to be said of it.
pub(crate) fn connect(
    python: &OsString,
    servers: [&Server; 2],
    plan: (usize, Duration),
) -> Result<[String; 2]> {
    let [own, other] =
        rounds([("connect", &servers[..1]), ("connect", &servers[1..])], 1, python, plan)?;
    let middle = |of: Vec<[f64; 2]>| median(of.iter().map(|[_, middle]| middle * 1000.0));
    Ok([
        "connect: a Python client connects, creates, calls once".to_owned(),
        format!("{:.2} ms; with CPython's manager {:.1} ms", middle(own), middle(other)),
    ])
}

/// A client that puts and gets a thousand items with a call each; what is to be said of it.
pub(crate) fn batch(
    python: &OsString,
    own: &Server,
    plan: (usize, Duration),
) -> Result<[String; 2]> {
    let [turns, batches] = rounds([("turn", &[own]), ("batch", &[own])], 1, python, plan)?;
    let ratios = turns.iter().zip(&batches).map(|([turn, _], [batch, _])| 1000.0 * batch / turn);
    let ratio = median(ratios);
    let items = |of: &[[f64; 2]], each| count(each * median(of.iter().map(|[rate, _]| *rate)));
    Ok([
        "batch: a Python client puts and gets 1,000 items with one call each".to_owned(),
        format!(
            "{} items a second; one by one {}: {ratio:.0} times as many",
            items(&batches, 1000.0),
            items(&turns, 1.0)
        ),
    ])
}
