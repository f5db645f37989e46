//! JSON and event streams that are valid but unlike any client's: a gateway must pass them on unchanged.
//!
//! Everything comes from one seed, so that a failed case can be repeated.

use std::fmt::Write as _;
use std::ops::Range;

/// Deepest nesting of a generated value: with what stands around it still within what the gateway reads.
const NESTING_MAX: usize = 100;

/// Texts between quotes that are spelled oddly, are empty, or look like the end of something.
const PIECES: [&str; 28] = [
    "a",
    "Word ",
    "é",
    "ß",
    "你好",
    "😀",
    "👩\u{200d}👩\u{200d}👧",
    "e\u{301}",
    "\u{2028}",
    "\u{feff}",
    "\u{7f}",
    " ",
    "{",
    "]",
    "data: ",
    ": ping",
    r"\n",
    r"\r\n\r\n",
    r"\/",
    r"\\",
    r#"\""#,
    r"\u00e9",
    r"\u00E9",
    r"\u0000",
    r"\ud83d\ude00",
    r"\ud800",
    r"\uDFFF\ud83d",
    r"\u2028",
];
const NUMBERS: [&str; 14] = [
    "0",
    "-0",
    "1E400",
    "-1.5e-7",
    "0e0",
    "1.0",
    "1.00",
    "1e+2",
    "18446744073709551616",
    "-9223372036854775809",
    "9007199254740993",
    "0.1000000000000000055511151231257827",
    "123456789012345678901234567890123456789012345678901234567890",
    "3.141592653589793238462643383279",
];
const SPACES: [&str; 8] = ["", "", "", " ", "\n", "\t", "\r\n", " \n\t  "];
const LINE_ENDS: [&str; 3] = ["\n", "\r\n", "\r"];
/// What may stand between two events without being one.
const BETWEEN: [&str; 6] = [": ping", ":", "id: 7", "retry: 10", "", "unknown: field"];

/// A member that an object is to have.
#[derive(Debug, Clone)]
pub struct Member {
    /// Without escapes.
    pub name: &'static str,
    /// JSON.
    pub value: String,
}

/// A generated object.
#[derive(Debug, Clone)]
pub struct Object {
    /// JSON.
    pub text: String,
    /// Where the values of the members asked for are, by their place in the list.
    pub values: Vec<Range<usize>>,
}

/// Makes odd things.
#[derive(Debug)]
pub struct Odd(fastrand::Rng);

impl Odd {
    /// The same things for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// True once in this many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn space(&mut self) -> &'static str {
        self.one_of(&SPACES)
    }

    /// A string with its quotes.
    pub fn string(&mut self) -> String {
        // Now and then one that is larger than any buffer.
        let pieces = if self.once_in(300) { 20_000 } else { self.below(9) };
        let text: String = (0..pieces).map(|_| self.one_of(&PIECES)).collect();
        format!("\"{text}\"")
    }

    fn number(&mut self) -> String {
        if self.once_in(2) {
            return self.one_of(&NUMBERS).to_owned();
        }
        let digits: String = (0..=self.below(40)).map(|_| self.0.digit(10)).collect();
        format!("-1{digits}.{digits}E-{}", self.below(999))
    }

    /// Any value, with no more than `depth` levels of its own beside a rare deep one.
    pub fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 4 } else { 8 }) {
            0 => self.number(),
            1 => self.one_of(&["true", "false", "null", "{}", "[]", "{ }", "[\n]"]).to_owned(),
            2 | 3 => self.string(),
            4 => self.deep(),
            5 | 6 => {
                let values: Vec<String> = (0..self.below(5)).map(|_| self.value(depth - 1)).collect();
                self.array(&values)
            }
            _ => self.object(&[], depth - 1).text,
        }
    }

    fn deep(&mut self) -> String {
        let levels = self.below(NESTING_MAX);
        let opened: Vec<(&str, &str)> =
            (0..levels).map(|_| if self.once_in(2) { ("[", "]") } else { ("{\"\":", "}") }).collect();
        let open: String = opened.iter().map(|(open, _)| *open).collect();
        let close: String = opened.iter().rev().map(|(_, close)| *close).collect();
        format!("{open}{}{close}", self.number())
    }

    /// These values in an array.
    pub fn array(&mut self, values: &[String]) -> String {
        let mut text = "[".to_owned();
        for (at, value) in values.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{}{value}{}", self.space(), self.space());
        }
        text + self.space() + "]"
    }

    /// An object with these members in any order, among others. A name may stand more than once: the last is the one
    /// that was asked for.
    pub fn object(&mut self, members: &[Member], depth: usize) -> Object {
        self.any_object(members, depth, true)
    }

    /// The same, in which each of these members stands once and is spelled plainly: one that decides something must.
    pub fn plain_object(&mut self, members: &[Member], depth: usize) -> Object {
        self.any_object(members, depth, false)
    }

    fn any_object(&mut self, members: &[Member], depth: usize, is_odd: bool) -> Object {
        let mut order: Vec<usize> = (0..members.len()).collect();
        self.0.shuffle(&mut order);
        let mut entries: Vec<(Option<usize>, String, String)> = Vec::new();
        for at in order {
            let Member { name, value } = &members[at];
            if is_odd && self.once_in(3) {
                let place = self.below(entries.len() + 1);
                entries.insert(place, (None, self.name(name), self.value(depth)));
            }
            let spelled = if is_odd { self.name(name) } else { format!("\"{name}\"") };
            entries.push((Some(at), spelled, value.clone()));
        }
        for _ in 0..self.below(5) {
            let place = self.below(entries.len() + 1);
            let name = self.string();
            entries.insert(place, (None, name.clone(), self.value(depth)));
            if self.once_in(4) {
                entries.insert(place, (None, name, self.value(depth)));
            }
        }
        self.print(&entries, members.len())
    }

    fn print(&mut self, entries: &[(Option<usize>, String, String)], members: usize) -> Object {
        let mut object = Object { text: "{".to_owned(), values: vec![0..0; members] };
        for (at, (member, name, value)) in entries.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let text = &mut object.text;
            let _ = write!(text, "{comma}{}{name}{}:{}", self.space(), self.space(), self.space());
            let start = text.len();
            let _ = write!(text, "{value}{}", self.space());
            if let Some(member) = member {
                object.values[*member] = start..start + value.len();
            }
        }
        object.text += self.space();
        object.text.push('}');
        object
    }

    /// A name with its quotes, spelt with an escape now and then.
    fn name(&mut self, name: &str) -> String {
        let escaped = self.below(name.len() * 4);
        let spell = |(at, symbol): (usize, char)| match at == escaped {
            true => format!("\\u{:04x}", u32::from(symbol)),
            false => symbol.to_string(),
        };
        format!("\"{}\"", name.chars().enumerate().map(spell).collect::<String>())
    }

    /// A document with white space around it.
    pub fn document(&mut self, object: Object) -> Object {
        let before = self.space();
        let text = format!("{before}{}{}{}", object.text, self.space(), self.space());
        let moved = |value: Range<usize>| value.start + before.len()..value.end + before.len();
        Object { text, values: object.values.into_iter().map(moved).collect() }
    }

    /// A stream of these events: names (empty for none) and data.
    pub fn events(&mut self, events: &[(&str, String)]) -> String {
        let mut stream = String::new();
        for (name, data) in events {
            let end = self.one_of(&LINE_ENDS);
            for _ in 0..self.below(3) {
                let between = self.one_of(&BETWEEN);
                let _ = write!(stream, "{between}{end}");
            }
            if !name.is_empty() {
                let _ = write!(stream, "event:{}{name}{end}", self.one_of(&["", " "]));
            }
            // A line end within the data is one between two lines of data.
            for line in data.split(['\r', '\n']) {
                let _ = write!(stream, "data:{}{line}{end}", self.one_of(&["", " "]));
            }
            stream += end;
        }
        if self.once_in(4) {
            // The last event may lack the line that ends it.
            stream.pop();
        }
        stream
    }

    /// Cuts bytes into a few pieces, anywhere; none is empty.
    pub fn cut<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = (0..self.below(6)).map(|_| self.below(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.dedup();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Member, Odd};

    #[test]
    fn what_is_odd_is_still_json_and_its_last_members_are_those_asked_for() {
        for seed in 0..500 {
            let mut odd = Odd::new(seed);
            let members = [("model", "\"m\""), ("stream", "true")]
                .map(|(name, value)| Member { name, value: value.to_owned() });
            let object = odd.object(&members, 3);
            let object = odd.document(object);
            let mut last: [Option<&str>; 2] = [None; 2];
            tollgate_core::json::members(object.text.as_bytes(), |name, value| {
                if let Some(at) = members.iter().position(|member| member.name.as_bytes() == name) {
                    last[at] = object.text.get(value.range());
                }
            })
            .unwrap_or_else(|error| panic!("seed {seed}: {error} in {}", object.text));
            assert_eq!(last, [Some("\"m\""), Some("true")], "seed {seed}");
            assert_eq!(&object.text[object.values[0].clone()], "\"m\"", "seed {seed}");
        }
    }

    #[test]
    fn a_seed_always_gives_the_same() {
        assert_eq!(Odd::new(7).value(4), Odd::new(7).value(4));
        assert_ne!(Odd::new(7).value(4), Odd::new(8).value(4));
    }
}
