//! The request log with a million rows: pages, filters on each field, and summaries, each beside the read of one record
//! by its primary key in the same run. It also measures what writing the log costs: CPU of the whole process for each
//! record.
//!
//! Takes the number of records as its argument (`-- 100000` for a quick look).
#![expect(clippy::print_stdout, reason = "what it measured is what it prints")]

use std::future::Future;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_store::{
    Components, Durability, Entry, KeyFilter, NewApiKey, Options, RequestFilter, RequestRecord, Store,
    UsageBy, UsageOf, UsageQuery,
};

type Failure = Box<dyn std::error::Error>;

const RECORDS: u64 = 1_000_000;
const USERS: u64 = 200;
const KEYS_PER_USER: u64 = 3;
const CREDENTIALS: u64 = 40;
const MODELS: u64 = 30;
/// Days that the log covers.
const DAYS: u64 = 30;
const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const RECEIPT_BYTES: usize = 300;
/// Reads of each kind.
const ROUNDS: u64 = 200;
/// What the slowest twentieth may take.
const MARK: Duration = Duration::from_millis(50);
const PAGE: u32 = 50;

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % sides
    }
}

struct Log {
    store: Store,
    users: Vec<UserId>,
    keys: Vec<ApiKeyId>,
    count: u64,
}

impl Log {
    async fn open(dir: &TempDir, count: u64) -> Result<Self, Failure> {
        let store = Store::open(
            &dir.path().join("log.db"),
            Options { sync: Durability::Normal, ..Options::default() },
        )
        .await?;
        let (mut users, mut keys) = (Vec::new(), Vec::new());
        for number in 0..USERS {
            let user = store.catalogue.create_user(&format!("user-{number}"), START).await?;
            users.push(user);
            for key in 0..KEYS_PER_USER {
                let mut sha256 = [0; 32];
                sha256[..16].copy_from_slice(&(u128::from(number) << 8 | u128::from(key)).to_be_bytes());
                let (hint, limits, keys_max) = ("tg_", KeyLimits::default(), 9);
                let new = NewApiKey { user, name: "k", sha256, hint, expires_at: None, limits, keys_max };
                keys.push(store.catalogue.create_api_key(&new, START).await?);
            }
        }
        Ok(Self { store, users, keys, count })
    }

    fn request(&self, number: u64) -> RequestId {
        let mut random = [1; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        RequestId::new(START.plus_ms(number * DAYS * DAY_MS / self.count), random)
    }

    fn record(&self, number: u64, dice: &mut Dice) -> RequestRecord {
        let key = dice.roll(USERS * KEYS_PER_USER);
        let at = START.plus_ms(number * DAYS * DAY_MS / self.count);
        let model = dice.roll(MODELS);
        let failed = dice.roll(20) == 0;
        // One in a hundred thousand stands for a rare value that someone searches for.
        let odd = number % 100_000 == 7;
        let input = dice.roll(4000);
        let pick = |list: &[UserId], at: u64| usize::try_from(at).ok().and_then(|at| list.get(at).copied());
        RequestRecord {
            api_key: usize::try_from(key).ok().and_then(|at| self.keys.get(at).copied()),
            protocol: Some(if odd { Protocol::OpenaiResponses } else { Protocol::OpenaiChat }),
            operation: Some(if odd { Operation::Embed } else { Operation::Generate }),
            provider: Some(if odd { "rare" } else { provider(model) }.into()),
            model: Some(if odd { "rare".into() } else { format!("model-{model}").into() }),
            credential: Some(credential(if odd { CREDENTIALS } else { dice.roll(CREDENTIALS) })),
            outcome: if odd {
                Outcome::Partial
            } else if failed {
                Outcome::UpstreamError
            } else {
                Outcome::Ok
            },
            status: Some(if odd {
                529
            } else if failed {
                502
            } else {
                200
            }),
            attempts: if odd { 3 } else { 1 },
            latency_ms: if odd { 600_000 } else { 300 + dice.roll(5000) },
            ttft_ms: Some(if odd { 60_000 } else { 100 + dice.roll(900) }),
            usage: Usage::of(Quality::Exact, &[(Class::Input, input), (Class::Output, input / 4)]),
            hold: Micropoints::new(9000),
            charge: Micropoints::new(if odd { 99_999_999 } else { 4000 }),
            price_version: Some(1),
            components: Components { pricing: Some([if odd { 2 } else { 1 }; 32]), ..Components::default() },
            receipt: Some(vec![0; RECEIPT_BYTES]),
            ..RequestRecord::new(
                self.request(number),
                pick(&self.users, key / KEYS_PER_USER).unwrap_or(self.users[0]),
                at,
            )
        }
    }

    /// Writes the log, and returns what it cost.
    async fn fill(&self) -> Result<(), Failure> {
        let writer = self.store.ledger.writer().await?;
        let mut dice = Dice(1);
        let (cpu, start) = (cpu(), Instant::now());
        for number in 0..self.count {
            writer.post(Entry::Record(Box::new(self.record(number, &mut dice))))?;
            if number % 2500 == 0 {
                writer.flush().await?;
            }
        }
        writer.flush().await?;
        let count = u32::try_from(self.count)?;
        let each = |spent: Duration| (spent / count).as_secs_f64() * 1e6;
        println!(
            "write   CPU {:.2} us a record, {:.2} us elapsed",
            each(self::cpu() - cpu),
            each(start.elapsed())
        );
        Ok(())
    }

    /// A page's begin, anywhere in the newer half.
    fn cursor(&self, dice: &mut Dice) -> RequestId {
        self.request(self.count - dice.roll(self.count / 2))
    }
}

fn provider(model: u64) -> &'static str {
    match model % 3 {
        0 => "openai",
        1 => "anthropic",
        _ => "google",
    }
}

fn credential(number: u64) -> CredentialId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    CredentialId::from_bytes(bytes)
}

/// CPU time of this process so far, to the hundredth of a second: user and system, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // What follows the name, which may hold anything, begins with the third field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Times of a kind of read, sorted.
async fn times<F: Future<Output = Result<(), Failure>>>(
    mut read: impl FnMut(Dice) -> F,
) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        read(Dice(round)).await?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

fn tell(name: &str, times: &[Duration], unit: Duration) {
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    let (p50, p95) = (at(50), at(95));
    let ratio = p95.as_secs_f64() / unit.as_secs_f64();
    let mark = if p95 <= MARK { "" } else { "  over the mark" };
    println!(
        "{name:<34} {:>9.3} {:>9.3} ms {ratio:>8.1}{mark}",
        p50.as_secs_f64() * 1e3,
        p95.as_secs_f64() * 1e3
    );
}

/// One filter on each field: by a value that is common, and by one that is rare.
fn filters(log: &Log) -> Vec<(&'static str, RequestFilter)> {
    let all = RequestFilter { limit: PAGE, ..RequestFilter::default() };
    let text = |text: &str| vec![text.to_owned()];
    vec![
        ("list", all.clone()),
        ("user", RequestFilter { users: vec![log.users[3]], ..all.clone() }),
        ("key", RequestFilter { api_keys: vec![log.keys[3]], ..all.clone() }),
        (
            "key and outcome",
            RequestFilter {
                api_keys: vec![log.keys[3]],
                outcomes: vec![Outcome::UpstreamError],
                ..all.clone()
            },
        ),
        ("credential", RequestFilter { credentials: vec![credential(3)], ..all.clone() }),
        ("credential, rare", RequestFilter { credentials: vec![credential(CREDENTIALS)], ..all.clone() }),
        ("protocol", RequestFilter { protocols: vec![Protocol::OpenaiChat], ..all.clone() }),
        ("protocol, rare", RequestFilter { protocols: vec![Protocol::OpenaiResponses], ..all.clone() }),
        ("protocol, never", RequestFilter { protocols: vec![Protocol::Gemini], ..all.clone() }),
        ("operation, rare", RequestFilter { operations: vec![Operation::Embed], ..all.clone() }),
        ("provider", RequestFilter { providers: text("openai"), ..all.clone() }),
        ("provider, rare", RequestFilter { providers: text("rare"), ..all.clone() }),
        ("model", RequestFilter { models: text("model-4"), ..all.clone() }),
        ("part of a model", RequestFilter { model_part: Some("odel-4".to_owned()), ..all.clone() }),
        ("two models", RequestFilter { models: vec!["model-4".into(), "rare".into()], ..all.clone() }),
        ("not a user's", RequestFilter { not_users: vec![log.users[3]], ..all.clone() }),
        ("model, rare", RequestFilter { models: text("rare"), ..all.clone() }),
        ("outcome", RequestFilter { outcomes: vec![Outcome::Ok], ..all.clone() }),
        ("outcome, one in 20", RequestFilter { outcomes: vec![Outcome::UpstreamError], ..all.clone() }),
        ("outcome, rare", RequestFilter { outcomes: vec![Outcome::Partial], ..all.clone() }),
        ("status, rare", RequestFilter { statuses: vec![529], ..all.clone() }),
        (
            "a day",
            RequestFilter {
                from: Some(START.plus_ms(3 * DAY_MS)),
                until: Some(START.plus_ms(4 * DAY_MS)),
                ..all.clone()
            },
        ),
        ("attempts, rare (bounded walk)", RequestFilter { attempts_min: Some(2), ..all.clone() }),
        ("latency, rare (bounded walk)", RequestFilter { latency_ms_min: Some(60_000), ..all.clone() }),
        ("ttft, rare (bounded walk)", RequestFilter { ttft_ms_min: Some(50_000), ..all.clone() }),
        ("tokens, rare (bounded walk)", RequestFilter { tokens_min: Some(1_000_000), ..all.clone() }),
        (
            "cost, rare (bounded walk)",
            RequestFilter { charge_min: Some(Micropoints::new(50_000_000)), ..all.clone() },
        ),
        (
            "failure, rare (bounded walk)",
            RequestFilter { failures: vec![FailureClass::Overloaded], ..all.clone() },
        ),
        ("component, rare (bounded walk)", RequestFilter { components: vec![[2; 32]], ..all }),
    ]
}

async fn read(log: &Log) -> Result<(), Failure> {
    let one = times(|mut dice| async move {
        log.store.log.request(log.request(dice.roll(log.count))).await?;
        Ok(())
    })
    .await?;
    let unit = one[(one.len() - 1) * 95 / 100];
    println!("{:<34} {:>9} {:>9}    {:>8}", "read", "p50", "p95", "of a key");
    tell("one record by its primary key", &one, unit);
    for (name, filter) in filters(log) {
        let filter = &filter;
        let taken = times(|mut dice| async move {
            let before = Some(log.cursor(&mut dice));
            log.store.log.request_page(&RequestFilter { before, ..filter.clone() }).await?;
            Ok(())
        });
        tell(name, &taken.await?, unit);
    }
    let (user, key) = (log.users[3], log.keys[9]);
    let (first, last) = (START.day(), START.day() + DAYS);
    let summaries = [
        ("summary of a user", UsageOf::User(user), UsageBy::Total),
        ("days of a user", UsageOf::User(user), UsageBy::Day),
        ("models of a user", UsageOf::User(user), UsageBy::Model),
        ("days of a key", UsageOf::Key(user, key), UsageBy::Day),
        ("days of a credential", UsageOf::Credential(credential(3)), UsageBy::Day),
        ("summary of everyone", UsageOf::Everyone, UsageBy::Total),
        ("days of everyone", UsageOf::Everyone, UsageBy::Day),
    ];
    for (name, of, by) in summaries {
        let query = UsageQuery { from_day: first, until_day: last, ..UsageQuery::all(of, by) };
        let query = &query;
        let taken = times(|_| async move {
            log.store.log.usage(query).await?;
            Ok(())
        });
        tell(name, &taken.await?, unit);
    }
    let keys = times(|_| async move {
        let all = KeyFilter { limit: usize::MAX, ..KeyFilter::default() };
        let keys = log.store.catalogue.find_api_keys(&all).await?;
        let ids: Vec<ApiKeyId> = keys.iter().map(|key| key.id).collect();
        log.store.catalogue.api_key_use_of(&ids).await?;
        Ok(())
    });
    tell("all API keys with totals", &keys.await?, unit);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let count = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(RECORDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let dir = tempfile::tempdir()?;
        let log = Log::open(&dir, count).await?;
        log.fill().await?;
        read(&log).await?;
        let wrong = log.store.ledger.verify_usage().await?;
        assert!(wrong.is_empty(), "counters that are wrong: {wrong:?}");
        log.store.close().await;
        Ok(())
    })
}
