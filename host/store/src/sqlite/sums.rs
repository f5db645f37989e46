//! Sums that cannot fail. SQLite's own `SUM` is an error past 64 bits, and `+` becomes a floating-point number: one row
//! that cannot be would keep a gateway from starting. These sums are exact, in two halves of 32 bits each, and stick at
//! the ends of 64 bits.
//!
//! And what the sums of the books leave out: a movement of more than [`MOVEMENT_MAX`] is damage. It stays where it is,
//! no balance counts it, and a check of the books names it.

use tollgate_core::points::MOVEMENT_MAX;

/// The sum of an expression over a group, in SQL; NULL where there are no rows, as `SUM` is.
macro_rules! sum {
    ($of:literal) => {
        $crate::sqlite::sums::halves!(
            concat!("SUM((", $of, ") >> 32)"),
            concat!("SUM((", $of, ") & 4294967295)")
        )
    };
}

/// A number of its halves, each of which may be more than 32 bits long.
macro_rules! halves {
    ($high:expr, $low:expr) => {
        concat!(
            "(CASE WHEN ",
            $high,
            " + (",
            $low,
            " >> 32) > 2147483647 THEN 9223372036854775807 \
             WHEN ",
            $high,
            " + (",
            $low,
            " >> 32) < -2147483648 THEN -9223372036854775808 \
             ELSE ((",
            $high,
            " + (",
            $low,
            " >> 32)) << 32) | (",
            $low,
            " & 4294967295) END)"
        )
    };
}

/// What adds to a counter that is there, in an upsert.
macro_rules! added {
    ($column:literal) => {
        concat!(
            $column,
            " = CAST(MIN(MAX(",
            $column,
            " + excluded.",
            $column,
            ", -9223372036854775808), 9223372036854775807) AS INTEGER)"
        )
    };
}

/// The condition that a transfer moved something, and not more than can be.
macro_rules! moved {
    () => {
        "kind IN (2, 4) AND amount <= 10000000000000000"
    };
}

/// The condition that a transfer is damage, as the index of migration 20 has it.
macro_rules! impossible {
    () => {
        "amount > 10000000000000000"
    };
}

pub(crate) use {added, halves, impossible, moved, sum};

// The texts above repeat this number, because the indexes do.
const _: () = assert!(MOVEMENT_MAX.get() == 10_000_000_000_000_000);

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

    async fn sum(values: &[i64]) -> Option<i64> {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let rows: Vec<String> = values.iter().map(|value| format!("SELECT {value} AS x")).collect();
        let rows =
            if rows.is_empty() { "SELECT 1 AS x WHERE 0".to_owned() } else { rows.join(" UNION ALL ") };
        let query = AssertSqlSafe(format!("SELECT {} FROM ({rows})", sum!("x")));
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn sums_are_exact_within_64_bits_and_stick_at_their_ends() {
        let (least, most) = (i64::MIN, i64::MAX);
        for values in [
            vec![0],
            vec![1, -1],
            vec![-1],
            vec![-1, -4_294_967_296, 4_294_967_295],
            vec![most, -1],
            vec![most, 1],
            vec![most, most, most, most],
            vec![least, -1],
            vec![least + 1, -1],
            vec![least, most],
            vec![most, least, 5, most, least],
            vec![4_294_967_295; 9],
            vec![-4_294_967_297; 9],
            vec![most / 3, most / 3, most / 3, 2],
        ] {
            let exact: i128 = values.iter().copied().map(i128::from).sum();
            let expected = exact.clamp(i128::from(least), i128::from(most));
            assert_eq!(sum(&values).await.map(i128::from), Some(expected), "{values:?}");
        }
        assert_eq!(sum(&[]).await, None);
    }
}
