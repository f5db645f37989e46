//! Any chunking gives the same frames, and the frames carry what the standard's own algorithm dispatches.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// The frames of a stream that arrives in these chunks, and the unfinished rest.
fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut framer = Framer::new(1 << 20);
    let mut found = Vec::new();
    for chunk in chunks {
        let mut end = 0;
        let unfinished = framer.push(chunk, |frame| {
            if let Frame::Whole { range, bytes } = &frame {
                assert_eq!(&chunk[range.clone()], *bytes);
            }
            end = frame.end();
            found.push(frame.bytes().to_vec());
        });
        assert_eq!(unfinished, Ok(chunk.len() - end));
    }
    (found, framer.finish().unwrap_or_default().to_vec())
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 12] = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"data: a",
        b"data:b",
        b"data",
        b"event: x",
        b": ping",
        b"\xEF\xBB\xBF",
        b"\xC3",
    ];
    vec(proptest::sample::select(pieces.to_vec()), 0..20).prop_map(|pieces| pieces.concat())
}

/// Data of each event, by the letter of the standard, from a stream that is there as a whole.
fn dispatched(stream: &[u8]) -> Vec<Vec<u8>> {
    let text: String =
        stream.strip_prefix(BYTE_ORDER_MARK).unwrap_or(stream).iter().map(|&byte| char::from(byte)).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut data) = (Vec::new(), None::<String>);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in complete.split('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if line.is_empty() {
            events.extend(data.take().map(|data| data.chars().map(|byte| byte as u8).collect()));
        } else if name == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            data = Some(data.map_or(value.to_owned(), |data| format!("{data}\n{value}")));
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_chunking_gives_the_same_frames(stream in stream(), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        let (found, rest) = frames(chunks);
        prop_assert_eq!(frames([stream.as_slice()]), (found.clone(), rest.clone()));
        prop_assert_eq!(frames(stream.chunks(1)), (found.clone(), rest.clone()));
        prop_assert_eq!([found.concat(), rest].concat(), stream);
    }

    #[test]
    fn frames_carry_what_the_standard_dispatches(mut stream in stream()) {
        // A comment decides whether a last CR was half a line end.
        stream.extend_from_slice(b":\n");
        let (found, _) = frames([stream.as_slice()]);
        let found: Vec<_> = found.iter().filter_map(|event| data(event)).map(Cow::into_owned).collect();
        prop_assert_eq!(found, dispatched(&stream));
    }
}

#[test]
fn a_line_end_split_anywhere_makes_no_event_of_its_own() {
    for stream in [b"data: a\r\n\r\ndata: b\r\n\r\n".as_slice(), b"data: a\n\ndata: b\n\n"] {
        let half = stream.len() / 2;
        let whole = vec![stream[..half].to_vec(), stream[half..].to_vec()];
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(frames([left, right]), (whole.clone(), Vec::new()), "cut at {cut}");
        }
    }
}

#[test]
fn an_event_inside_one_chunk_is_not_copied() {
    let mut framer = Framer::new(100);
    let mut seen = Vec::new();
    let mut push = |chunk: &[u8]| {
        framer.push(chunk, |frame| seen.push((matches!(frame, Frame::Whole { .. }), frame.end())))
    };
    assert_eq!(push(b"data: a\n\ndata: b\n\nda"), Ok(2));
    assert_eq!(push(b"ta: c\r"), Ok(6));
    assert_eq!(push(b"\r"), Ok(1));
    assert_eq!(push(b"data: d\n\n"), Ok(0));
    assert_eq!(seen, [(true, 9), (true, 18), (false, 0), (true, 9)]);
}

#[test]
fn an_event_beyond_the_limit_ends_the_framing() {
    let stream = b"data: 1\n\ndata: 22\n\n";
    for size in 1..=stream.len() {
        let push_all = |limit| {
            let (mut framer, mut count) = (Framer::new(limit), 0);
            let result =
                stream.chunks(size).try_for_each(|chunk| framer.push(chunk, |_| count += 1).map(drop));
            (result, count, framer.push(b"\n\n", |_| ()).is_err())
        };
        assert_eq!(push_all(10), (Ok(()), 2, false));
        assert_eq!(push_all(9), (Err(SseError::TooLong { max_event_bytes: 9 }), 1, true));
    }
}

#[test]
fn an_event_without_its_blank_line_is_there_at_the_end() {
    assert_eq!(frames([b"data: a\n\ndata: b\n".as_slice()]).1, b"data: b\n");
    assert_eq!(Framer::new(9).finish(), None);
}

#[test]
fn data_lines_are_joined_and_one_is_borrowed() {
    let check = |event: &[u8], expect: Option<&[u8]>| assert_eq!(data(event).as_deref(), expect);
    check(b"data: {\"a\":1}\n\n", Some(b"{\"a\":1}"));
    check(b"event: x\r\ndata:  two spaces\r\n\r\n", Some(b" two spaces"));
    check(b"data: a\ndata\ndata:b\n\n", Some(b"a\n\nb"));
    check(b": ping\n\n", None);
    check(b"database: a\nData: b\n\n", None);
    assert!(matches!(data(b"event: x\ndata: a\n\n"), Some(Cow::Borrowed(b"a"))));
}

#[test]
fn the_last_name_counts() {
    assert_eq!(event_name(b"event: a\ndata: x\nevent:b\n\n"), Some(b"b".as_slice()));
    assert_eq!(event_name(b"data: event: a\n\n"), None);
}
