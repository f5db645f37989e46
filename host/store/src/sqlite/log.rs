//! The request log, filtered: finds the records of a page without reading others.
//!
//! Three indexes serve all filters by name: a record's key, its credential, and its *shape* (the protocol, operation,
//! provider, model, outcome and status that it has in common with many). A user's log is that of their keys. Each value
//! that a filter allows is one branch, a walk through its index from the newest on; the branches are merged.
//!
//! Amounts (duration, tokens, cost) have no index. Where only they are filtered, a page looks at [`WALK_MAX`] records
//! at most and says where the next one goes on: it may be short, or empty, and still not be the last.

use std::fmt::Write as _;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::log::filter::{Pace, RequestFilter, RequestPage, RequestPages, RequestSums, SumBy};
use crate::sqlite::amounts::tokens_of_record;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{fields, readable, stored};

/// Records that a page looks at where no index helps.
const WALK_MAX: u32 = 20_000;
/// Records that are looked at first, before any index: frequent matches are found there.
const GLANCE: u32 = 1000;
/// Records of a page, whatever its limit: each is an argument of the query that reads them.
const PAGE_MAX: u32 = 1000;
/// Records that are summed up at once.
const SUMMED_MAX: usize = 10_000;
/// Branches of one query; SQLite allows 500.
const BRANCHES_MAX: usize = 400;

/// An argument of a query.
#[derive(Debug, Clone)]
enum Value {
    Number(i64),
    Bytes(Vec<u8>),
    Text(String),
}

/// A condition with its values.
#[derive(Debug, Clone, Default)]
struct Condition {
    text: String,
    values: Vec<Value>,
}

impl Condition {
    fn and(&mut self, text: &str, value: Option<Value>) {
        if let Some(value) = value {
            // Writing into a String cannot fail.
            let _ = write!(self.text, " AND {text}");
            self.values.push(value);
        }
    }

    /// The column holds one of the values, where there are any.
    fn one_of(&mut self, column: &str, values: impl IntoIterator<Item = Value>) {
        self.within(&format!("{column} IN"), values, "");
    }

    /// A list of the values within other text, where there are any.
    fn within(&mut self, text: &str, values: impl IntoIterator<Item = Value>, end: &str) {
        let before = self.values.len();
        self.values.extend(values);
        let places = vec!["?"; self.values.len() - before].join(",");
        if !places.is_empty() {
            let _ = write!(self.text, " AND {text} ({places}){end}");
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// The bounds of the walk, both excluded.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    above: [u8; 16],
    below: [u8; 16],
}

impl Bounds {
    fn of(filter: &RequestFilter) -> Self {
        let first = |at: Timestamp| *RequestId::new(at, [0; 10]).as_bytes();
        let until = filter.until.map(first);
        let before = filter.before.map(|request| *request.as_bytes());
        Self {
            // An id of that very millisecond is greater: its random part is not all zeros.
            above: filter.from.map_or([0; 16], first),
            below: before.into_iter().chain(until).min().unwrap_or([0xff; 16]),
        }
    }
}

#[async_trait]
impl RequestPages for Database {
    async fn request_page(&self, filter: &RequestFilter) -> Result<RequestPage, StoreError> {
        let limit = filter.limit.min(PAGE_MAX) as usize;
        if limit == 0 {
            return Ok(RequestPage { records: Vec::new(), next: None });
        }
        let (found, next) = self.found(filter, limit).await?;
        Ok(RequestPage { records: self.records(&found).await?, next })
    }

    async fn request_sums(&self, filter: &RequestFilter, by: SumBy) -> Result<RequestSums, StoreError> {
        let (found, next) = self.found(filter, SUMMED_MAX).await?;
        Ok(RequestSums { rows: self.summed(&found, by).await?, next })
    }

    async fn request_paces(
        &self,
        filter: &RequestFilter,
        by: SumBy,
        every: Option<SumBy>,
    ) -> Result<(Vec<Pace>, Option<RequestId>), StoreError> {
        let (found, next) = self.found(filter, SUMMED_MAX).await?;
        Ok((self.paces(&found, by, every).await?, next))
    }
}

impl Database {
    /// The newest records that a filter lets through, at most `limit`, and where to go on where there may be more.
    async fn found(
        &self,
        filter: &RequestFilter,
        limit: usize,
    ) -> Result<(Vec<RequestId>, Option<RequestId>), StoreError> {
        let bounds = Bounds::of(filter);
        let shapes = self.shapes(filter).await?;
        let branches = self.branches(filter, shapes.as_deref()).await?;
        let (mut found, walked) = match &branches {
            Some(branches) => {
                (self.follow(filter, shapes.as_deref(), branches, &bounds, limit + 1).await?, None)
            }
            None => self.walk(&rest(filter, false), &bounds, limit + 1, WALK_MAX).await?,
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().copied() } else { walked };
        Ok((found, next))
    }

    /// The shapes that the filter allows; `None` where it allows all.
    async fn shapes(&self, filter: &RequestFilter) -> Result<Option<Vec<i64>>, StoreError> {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut shape = Condition::default();
        shape.one_of("protocol", filter.protocols.iter().map(|protocol| text(protocol.name())));
        shape.one_of("operation", filter.operations.iter().map(|operation| text(operation.name())));
        shape.one_of("provider", filter.providers.iter().map(|name| text(name)));
        shape.one_of("model", filter.models.iter().map(|name| text(name)));
        shape.and("instr(lower(model), lower(?)) > 0", filter.model_part.as_deref().map(text));
        shape.one_of("outcome", filter.outcomes.iter().map(|outcome| text(outcome.name())));
        shape.one_of("status", filter.statuses.iter().map(|status| Value::Number(i64::from(*status))));
        if shape.is_empty() {
            return Ok(None);
        }
        let query = format!("SELECT id FROM request_shape WHERE 1{}", shape.text);
        let rows = self.read(query, &shape.values, "reading shapes").await?;
        rows.iter().map(|row| fields("shape", row, |row| row.get())).collect::<Result<_, _>>().map(Some)
    }

    /// The walks that find everything the filter allows; `None` where it names nothing that has an index.
    async fn branches(
        &self,
        filter: &RequestFilter,
        shapes: Option<&[i64]>,
    ) -> Result<Option<Vec<Condition>>, StoreError> {
        let one = |text: &str, id: &[u8]| {
            let mut condition = Condition::default();
            condition.and(text, Some(Value::Bytes(id.to_vec())));
            condition
        };
        if !filter.users.is_empty() {
            let mut branches = Vec::new();
            for user in &filter.users {
                let keys = self.keys_of(user).await?;
                let wanted = |key: &&Vec<u8>| {
                    let all = filter.api_keys.is_empty();
                    all || filter.api_keys.iter().any(|wanted| wanted.as_bytes() == key.as_slice())
                };
                branches.extend(keys.iter().filter(wanted).map(|key| one("api_key = ?", key)));
                if filter.api_keys.is_empty() {
                    branches.push(one("api_key IS NULL AND user_id = ?", user.as_bytes()));
                }
            }
            return Ok(Some(branches));
        }
        if !filter.api_keys.is_empty() {
            let keys = filter.api_keys.iter();
            return Ok(Some(keys.map(|key| one("api_key = ?", key.as_bytes())).collect()));
        }
        if !filter.credentials.is_empty() {
            let credentials = filter.credentials.iter();
            return Ok(Some(credentials.map(|id| one("credential = ?", id.as_bytes())).collect()));
        }
        let branch = |shape: &i64| {
            let mut condition = Condition::default();
            condition.and("shape = ?", Some(Value::Number(*shape)));
            condition
        };
        Ok(shapes.map(|shapes| shapes.iter().map(branch).collect()))
    }

    async fn keys_of(&self, user: &UserId) -> Result<Vec<Vec<u8>>, StoreError> {
        let values = [Value::Bytes(user.as_bytes().to_vec())];
        let text = "SELECT id FROM api_key WHERE user_id = ?".to_owned();
        let rows = self.read(text, &values, "reading a user's keys").await?;
        Ok(readable("API key", &rows, |row| row.get()))
    }

    /// Follows the branches, and merges what they find.
    async fn follow(
        &self,
        filter: &RequestFilter,
        shapes: Option<&[i64]>,
        branches: &[Condition],
        bounds: &Bounds,
        limit: usize,
    ) -> Result<Vec<RequestId>, StoreError> {
        let by_owner =
            !(filter.users.is_empty() && filter.api_keys.is_empty() && filter.credentials.is_empty());
        let mut other = rest(filter, by_owner);
        if let Some(shapes) = shapes {
            let list = shapes.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            let _ = write!(other.text, " AND shape IN ({list})");
        }
        if !by_owner && branches.len() > 1 {
            let (found, _) = self.walk(&other, bounds, limit, GLANCE).await?;
            if found.len() == limit {
                return Ok(found);
            }
        }
        let mut found = Vec::new();
        for some in branches.chunks(BRANCHES_MAX) {
            found.extend(self.merged(some, &other, bounds, limit).await?);
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(limit);
        Ok(found)
    }

    async fn merged(
        &self,
        branches: &[Condition],
        other: &Condition,
        bounds: &Bounds,
        limit: usize,
    ) -> Result<Vec<RequestId>, StoreError> {
        let mut values = Vec::new();
        let one = |branch: &Condition| {
            values.extend([Value::Bytes(bounds.above.to_vec()), Value::Bytes(bounds.below.to_vec())]);
            values.extend(branch.values.iter().chain(&other.values).cloned());
            format!(
                "SELECT * FROM (SELECT request FROM request_record WHERE request > ? AND request < ?{}{} \
                 ORDER BY request DESC LIMIT {limit})",
                branch.text, other.text
            )
        };
        let branches: Vec<String> = branches.iter().map(one).collect();
        if branches.is_empty() {
            return Ok(Vec::new());
        }
        self.ids(branches.join(" UNION ALL "), &values).await
    }

    /// Looks at the newest records within the bounds, one after the other, at most `limit`. The second value is where
    /// to go on when there were more.
    async fn walk(
        &self,
        condition: &Condition,
        bounds: &Bounds,
        limit: usize,
        walk_max: u32,
    ) -> Result<(Vec<RequestId>, Option<RequestId>), StoreError> {
        let within = [Value::Bytes(bounds.above.to_vec()), Value::Bytes(bounds.below.to_vec())];
        let newest = "FROM request_record WHERE request > ? AND request < ? ORDER BY request DESC";
        let values: Vec<_> = within.iter().chain(&condition.values).cloned().collect();
        // A query in a query with a LIMIT of its own is stopped as soon as the outer one has enough.
        let text = format!(
            "SELECT request FROM (SELECT * {newest} LIMIT {walk_max}) AS request_record WHERE 1{} LIMIT {limit}",
            condition.text
        );
        let found = self.ids(text, &values).await?;
        if found.len() >= limit || condition.is_empty() {
            return Ok((found, None));
        }
        let last = format!("SELECT request {newest} LIMIT 1 OFFSET {}", walk_max - 1);
        let walked = self.ids(last, &within).await?;
        Ok((found, walked.first().copied()))
    }

    async fn ids(&self, text: String, values: &[Value]) -> Result<Vec<RequestId>, StoreError> {
        let rows = self.read(text, values, "reading the request log").await?;
        Ok(readable("record", &rows, |row| row.bytes().map(RequestId::from_bytes)))
    }

    /// Runs a query whose text is our own: column names, numbers and question marks.
    async fn read(
        &self,
        text: String,
        values: &[Value],
        doing: &'static str,
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for value in values {
            query = match value {
                Value::Number(number) => query.bind(*number),
                Value::Bytes(bytes) => query.bind(bytes.as_slice()),
                Value::Text(text) => query.bind(text.as_str()),
            };
        }
        query.fetch_all(self.pool()).await.doing(doing)
    }
}

/// The filters without an index: compared record by record. `owned` says that the walk is by owner, with the credential
/// beside it.
fn rest(filter: &RequestFilter, owned: bool) -> Condition {
    let number = |number: u64| Value::Number(stored(number));
    let mut rest = Condition::default();
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    if owned && !(filter.users.is_empty() && filter.api_keys.is_empty()) {
        rest.one_of("credential", filter.credentials.iter().map(|id| bytes(id.as_bytes())));
    }
    rest.one_of("user_id NOT", filter.not_users.iter().map(|id| bytes(id.as_bytes())));
    rest.and("attempts >= ?", filter.attempts_min.map(|count| number(u64::from(count))));
    rest.and("latency_ms >= ?", filter.latency_ms_min.map(number));
    rest.and("ttft_ms >= ?", filter.ttft_ms_min.map(number));
    rest.and(&format!("{} >= ?", tokens_of_record()), filter.tokens_min.map(number));
    rest.and("charge >= ?", filter.charge_min.map(|amount| Value::Number(amount.get())));
    let failures = filter.failures.iter().map(|class| Value::Text(class.name().to_owned()));
    let tried = "SELECT 1 FROM request_attempt AS tried WHERE tried.request = request_record.request";
    rest.within(&format!("EXISTS ({tried} AND tried.failure IN"), failures, ")");
    let wanted = filter.components.iter().map(|digest| format!("(x'{}')", hex(digest)));
    let wanted = wanted.collect::<Vec<_>>().join(",");
    if !wanted.is_empty() {
        let took_part = "wanted.column1 IN (adapter, selector, pricing, filter)";
        let sets = format!("SELECT id FROM component_set, (VALUES {wanted}) AS wanted WHERE {took_part}");
        let _ = write!(rest.text, " AND components IN ({sets})");
    }
    rest
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
