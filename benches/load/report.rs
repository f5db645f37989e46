//! The figures, and their ratio to nginx's.

use std::time::Duration;

use crate::phase::{CONNECTIONS, PACE, PACED_STREAMS, Plan, REQUESTS_PER_MS, Round, Sample};
use crate::target::{IMAGE_BYTES, Target};
use crate::upstream::EVENTS;

/// Medians over the rounds of one target.
struct Row<'a> {
    target: &'a Target,
    loaded_kib: u64,
    rounds: &'a [Round],
}

impl Row<'_> {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.rounds.iter().map(figure).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Microseconds below which this many thousandths of the requests stayed.
    fn latency(&self, per_mille: usize) -> f64 {
        self.median(|round| {
            let at = round.latencies.len() * per_mille / 1000;
            round.latencies.get(at).map_or(f64::NAN, |time| micros(*time))
        })
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
impl Sample {
    fn rate(&self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }

    /// Microseconds of the proxy's CPU for one thing.
    fn cost(&self) -> f64 {
        micros(self.cpu) / self.count as f64
    }

    /// Share of the proxy's core that was used.
    fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    fn calls_per(&self, things: u64) -> f64 {
        self.calls as f64 / (self.count as f64 / things as f64)
    }
}

/// Prints all tables. The first two targets are direct and nginx.
pub(crate) fn print(plan: &Plan, targets: &[Target], rounds: &[Vec<Round>]) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = targets
        .iter()
        .zip(rounds)
        .map(|(target, rounds)| Ok(Row { target, loaded_kib: target.resident_kib()?, rounds }))
        .collect::<anyhow::Result<_>>()?;
    let [direct, nginx, ..] = rows.as_slice() else { return Ok(()) };
    println!("\nMedians of {} rounds; x: of nginx's.", direct.rounds.len());
    let name = format!(
        "{} requests, 1 KiB each way, {CONNECTIONS} connections, each busy all the time",
        plan.requests
    );
    print_requests(&name, &rows, nginx, |round| round.requests);
    let name = format!("the same, {REQUESTS_PER_MS} requests every ms");
    print_requests(&name, &rows, nginx, |round| round.paced_requests);
    print_latency(&rows, direct);
    let name =
        format!("streams of {EVENTS} events, each written by itself without pause, {CONNECTIONS} at once");
    print_streams(&name, &rows, nginx, |round| round.burst);
    let name = format!("streams of {EVENTS} events, one every {PACE:?}, {PACED_STREAMS} at once");
    print_streams(&name, &rows, nginx, |round| round.paced);
    print_translated(&rows);
    print_memory(&rows);
    Ok(())
}

fn print_requests(name: &str, rows: &[Row<'_>], nginx: &Row<'_>, of: impl Fn(&Round) -> Sample + Copy) {
    print_costs(name, ["a request", "requests/s", "a request"], 1, rows, nginx, of);
}

fn print_latency(rows: &[Row<'_>], direct: &Row<'_>) {
    println!("\nlatency of these, in us (added: beyond direct)");
    println!("{:22} {:>8} {:>8} {:>8} {:>8}", "", "p50", "added", "p99", "added");
    for row in rows {
        let (p50, p99) = (row.latency(500), row.latency(990));
        let (added_p50, added_p99) = (p50 - direct.latency(500), p99 - direct.latency(990));
        println!("{:22} {p50:8.0} {added_p50:8.0} {p99:8.0} {added_p99:8.0}", row.target.name);
    }
}

fn print_streams(name: &str, rows: &[Row<'_>], nginx: &Row<'_>, of: impl Fn(&Round) -> Sample + Copy) {
    print_costs(name, ["a chunk", "chunks/s", "a stream"], EVENTS as u64, rows, nginx, of);
}

/// `units` names what CPU time, rate and calls of components are counted for; `things` make one of the last.
fn print_costs(
    name: &str,
    units: [&str; 3],
    things: u64,
    rows: &[Row<'_>],
    nginx: &Row<'_>,
    of: impl Fn(&Round) -> Sample + Copy,
) {
    println!("\n{name}");
    println!(
        "{:22} {:>10} {:>6} {:>10} {:>6} {:>6} {:>10}",
        "", "us CPU", "x", units[1], "x", "busy", "Wasm calls"
    );
    println!("{:22} {:>10} {:>6} {:>10} {:>6} {:>6} {:>10}", "", units[0], "", "", "", "", units[2]);
    let (cost, rate) = (nginx.median(|round| of(round).cost()), nginx.median(|round| of(round).rate()));
    for row in rows {
        let own_cost = row.median(|round| of(round).cost());
        let own_rate = row.median(|round| of(round).rate());
        let busy = row.median(|round| of(round).busy()) * 100.0;
        let calls = row.median(|round| of(round).calls_per(things));
        println!(
            "{:22} {own_cost:10.2} {:6.2} {own_rate:10.0} {:6.2} {busy:5.0}% {calls:10.2}",
            row.target.name,
            own_cost / cost,
            own_rate / rate
        );
    }
}

/// The streams again, for clients of another protocol.
fn print_translated(rows: &[Row<'_>]) {
    println!(
        "\nthe same streams translated for clients of another protocol (x: of the passthrough in the same run)"
    );
    println!("{:22} {:>10} {:>6} {:>10} {:>10} {:>6}", "", "us CPU", "x", "Wasm calls", "us CPU", "x");
    println!("{:22} {:>10} {:>6} {:>10} {:>10}", "", "a chunk", "", "a stream", "paced");
    for row in rows.iter().filter(|row| !row.target.is_baseline()) {
        let cost = |sample: Option<Sample>| sample.map_or(f64::NAN, |sample| sample.cost());
        let burst = row.median(|round| cost(round.translated));
        let paced = row.median(|round| cost(round.translated_paced));
        let calls = |sample: Sample| sample.calls_per(EVENTS as u64);
        println!(
            "{:22} {burst:10.2} {:6.2} {:10.2} {paced:10.2} {:6.2}",
            row.target.name,
            burst / row.median(|round| round.burst.cost()),
            row.median(|round| round.translated.map_or(f64::NAN, calls)),
            paced / row.median(|round| round.paced.cost()),
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]
fn print_memory(rows: &[Row<'_>]) {
    let image = IMAGE_BYTES as f64 / f64::from(1 << 20);
    println!(
        "\nresident memory in MiB, and what a request of {image:.0} MiB, nearly all an image, adds to it at most"
    );
    println!(
        "{:22} {:>8} {:>8} {:>8} {:>6} {:>8} {:>16}",
        "", "idle", "loaded", "one", "x", "in a row", "into components"
    );
    for row in rows.iter().filter(|row| row.loaded_kib > 0) {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let cost = row.target.image;
        let (idle, loaded) = (mib(row.target.idle_kib), mib(row.loaded_kib));
        let (one, several, name) = (mib(cost.risen_kib), mib(cost.row_risen_kib), &row.target.name);
        println!(
            "{name:22} {idle:8.1} {loaded:8.1} {one:8.1} {:6.2} {several:8.1} {:10} bytes",
            one / image,
            cost.copied_bytes
        );
    }
}
