//! One line for each event, whatever text stands in it: the one place through which everything goes that is logged.

use std::fmt;

use tollgate_core::line::{plain, plain_json, shortened};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Longest text of an event's fields.
const FIELDS_BYTES_MAX: usize = 16 << 10;

/// Fields as text, on one line.
pub(super) struct PlainFields<F>(pub(super) F);

impl<'writer, F> FormatFields<'writer> for PlainFields<F>
where
    F: for<'any> FormatFields<'any>,
{
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&plain(&shortened(&text, FIELDS_BYTES_MAX)))
    }
}

/// Events as JSON, in which nothing shows that only looks like the end of a line.
pub(super) struct PlainJson<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for PlainJson<F>
where
    S: Subscriber + for<'any> LookupSpan<'any>,
    N: for<'any> FormatFields<'any> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writeln!(writer, "{}", plain_json(text.trim_end_matches('\n')))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::fmt::format::DefaultFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{PlainFields, PlainJson};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FORGED: &str =
        "gone\n2026-11-30T03:00:00Z ERROR tollgate: paid\r\u{1b}[2K\u{2028}\u{202e}\u{9b}31m";

    fn tell() {
        let error = io::Error::other(FORGED);
        tracing::warn!(words = FORGED, %error, shown = ?FORGED, "it said: {FORGED}");
    }

    #[test]
    fn no_field_and_no_message_forges_a_line() {
        let sink = Sink::default();
        let text = fmt::layer().fmt_fields(PlainFields(DefaultFields::new())).with_ansi(true);
        let to = sink.clone();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(text.with_writer(move || to.clone())),
            tell,
        );
        let told = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(told.matches('\n').count(), 1, "{told:?}");
        assert!(
            !told.contains(['\r', '\u{2028}', '\u{202e}', '\u{9b}']) && !told.contains("\u{1b}[2K"),
            "{told:?}"
        );
    }

    #[test]
    fn nor_does_one_in_json() {
        let sink = Sink::default();
        let json = fmt::layer().json().flatten_event(true).map_event_format(PlainJson);
        let to = sink.clone();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(json.with_writer(move || to.clone())),
            tell,
        );
        let told = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(told.matches('\n').count(), 1, "{told:?}");
        assert!(told.trim_end().chars().all(|sign| (' '..='~').contains(&sign)), "{told:?}");
        let read: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(read["words"], FORGED);
    }
}
