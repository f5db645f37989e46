//! Taking JSON apart so that nothing is overlooked.
//!
//! A parser *takes* the members that it knows; [`Object::finish`] refuses the first one that is left over, by its path.
//! Answers of a provider are read with the same words but without `finish`: an unknown member is no reason to throw
//! away an answer that was paid for.
//!
//! One level is read at a time and nothing recurses, so the depth of a document cannot exhaust the stack.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Number, Raw, Text};
use crate::model::{At, LeftOut, Refused};

/// What is wrong with a member that nobody takes.
const NO_EQUIVALENT: &str = "has no equivalent in the upstream's protocol";

/// Where a value is in its document: `messages[2].content`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'p> {
    /// The document, and where it is noted what of it is left out.
    Root(Option<&'p LeftOut>),
    /// A member of the object at a path.
    Member(&'p Path<'p>, &'p str),
    /// An element of the array at a path.
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(_) => Ok(()),
            Self::Member(Self::Root(_), name) => formatter.write_str(name),
            Self::Member(parent, name) => write!(formatter, "{parent}.{name}"),
            Self::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

impl Path<'_> {
    fn notes(&self) -> Option<&LeftOut> {
        match self {
            Self::Root(notes) => *notes,
            Self::Member(parent, _) | Self::Index(parent, _) => parent.notes(),
        }
    }

    /// Notes that what stands here is left out.
    fn mention(&self) {
        if let Some(notes) = self.notes() {
            notes.mention(&self.to_string());
        }
    }

    /// # Errors
    /// Nothing may be left out.
    fn hint(&self, why: impl Into<Cow<'static, str>>) -> Result<(), Refused> {
        self.notes().map_or(Ok(()), |notes| notes.hint(&self.to_string(), why))
    }
}

/// A value in a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a, 'p> {
    raw: &'a str,
    path: Path<'p>,
}

impl<'a, 'p> Node<'a, 'p> {
    /// The whole of a document.
    ///
    /// # Errors
    /// It is not JSON.
    pub(crate) fn document(bytes: &'a [u8]) -> Result<Self, Refused> {
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::new("", "the body is not UTF-8 text"))?;
        // Places are counted from the first sign: the space before it may have come in another piece.
        let raw: &RawValue = serde_json::from_str(text.trim_ascii_start())
            .map_err(|error| Refused::new("", format!("the body is not JSON: {error}")))?;
        Ok(Self { raw: raw.get(), path: Path::Root(None) })
    }

    /// The same document, of which `notes` tell what is left out.
    pub(crate) const fn noting(self, notes: &'p LeftOut) -> Self {
        Self { raw: self.raw, path: Path::Root(Some(notes)) }
    }

    /// Notes that this value is left out, because it says nothing to the upstream, or what it does anyway.
    pub(crate) fn mention(&self) {
        self.path.mention();
    }

    /// Leaves this value out, because the answer is one without it.
    ///
    /// # Errors
    /// Nothing may be left out.
    pub(crate) fn hint(&self, why: impl Into<Cow<'static, str>>) -> Result<(), Refused> {
        self.path.hint(why)
    }

    /// Whether it asks for nothing at all.
    fn is_nothing(&self) -> bool {
        matches!(self.raw, "null" | "false" | "\"\"") || {
            let inside = self.raw.get(1..self.raw.len() - 1).unwrap_or("-");
            self.raw.starts_with(['{', '[']) && inside.trim().is_empty()
        }
    }

    /// An error that names this value.
    pub(crate) fn refuse(&self, why: impl Into<Cow<'static, str>>) -> Refused {
        Refused::new(self.path.to_string(), why)
    }

    /// `value` with its place.
    pub(crate) fn at<T>(&self, value: T) -> At<T> {
        At { value, path: self.place() }
    }

    /// The path as text, for what has to remember it.
    pub(crate) fn place(&self) -> Box<str> {
        self.path.to_string().into()
    }

    pub(crate) fn raw(&self) -> Raw<'a> {
        Raw(self.raw)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.raw == "null"
    }

    pub(crate) fn is_string(&self) -> bool {
        self.raw.starts_with('"')
    }

    /// Whether it is this string, which needs no escapes.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text().is_ok_and(|given| given.decode() == text)
    }

    pub(crate) fn is_array(&self) -> bool {
        self.raw.starts_with('[')
    }

    pub(crate) fn is_object(&self) -> bool {
        self.raw.starts_with('{')
    }

    /// # Errors
    /// It is not a string.
    pub(crate) fn text(&self) -> Result<Text<'a>, Refused> {
        let inside = self.raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inside.map(Text::escaped).ok_or_else(|| self.refuse("must be a string"))
    }

    /// The characters of a string.
    ///
    /// # Errors
    /// It is not a string.
    pub(crate) fn string(&self) -> Result<Cow<'a, str>, Refused> {
        Ok(self.text()?.into_decoded())
    }

    /// # Errors
    /// It is neither `true` nor `false`.
    pub(crate) fn boolean(&self) -> Result<bool, Refused> {
        match self.raw {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.refuse("must be true or false")),
        }
    }

    /// # Errors
    /// It is not a number.
    pub(crate) fn number(&self) -> Result<Number<'a>, Refused> {
        if self.raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            Ok(Number(self.raw))
        } else {
            Err(self.refuse("must be a number"))
        }
    }

    /// # Errors
    /// It is not a whole number of at most 64 bits without a sign.
    pub(crate) fn whole(&self) -> Result<u64, Refused> {
        self.number()?.whole().ok_or_else(|| self.refuse("must be a whole number, zero or more"))
    }

    /// Calls `each` for each element.
    ///
    /// # Errors
    /// It is not an array, or `each` refuses an element.
    pub(crate) fn items(
        &self,
        mut each: impl FnMut(Node<'a, '_>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if !self.raw.starts_with('[') {
            return Err(self.refuse("must be an array"));
        }
        let elements = self.elements()?;
        for (index, raw) in elements.into_iter().enumerate() {
            each(Node { raw: raw.get(), path: Path::Index(&self.path, index) })?;
        }
        Ok(())
    }

    /// Parses each element.
    ///
    /// # Errors
    /// As [`Node::items`].
    pub(crate) fn list<T>(
        &self,
        mut parse: impl FnMut(Node<'a, '_>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        let mut list = Vec::new();
        self.items(|element| {
            list.push(parse(element)?);
            Ok(())
        })?;
        Ok(list)
    }

    /// As [`Node::items`], and takes what is no array for the only element of one, as Google's servers do.
    ///
    /// # Errors
    /// `each` refuses an element.
    pub(crate) fn items_or_one(
        &self,
        mut each: impl FnMut(Node<'a, '_>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if self.raw.starts_with('[') { self.items(each) } else { each(*self) }
    }

    /// As [`Node::list`], and takes what is no array for the only element of one.
    ///
    /// # Errors
    /// As [`Node::items_or_one`].
    pub(crate) fn list_or_one<T>(
        &self,
        mut parse: impl FnMut(Node<'a, '_>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        if self.raw.starts_with('[') { self.list(parse) } else { Ok(vec![parse(*self)?]) }
    }

    fn elements(&self) -> Result<Vec<&'a RawValue>, Refused> {
        serde_json::Deserializer::from_str(self.raw)
            .deserialize_seq(Elements)
            .map_err(|error| self.refuse(error.to_string()))
    }

    /// # Errors
    /// It is not an object.
    pub(crate) fn object(&self) -> Result<Object<'a, 'p>, Refused> {
        if !self.is_object() {
            return Err(self.refuse("must be an object"));
        }
        let members = serde_json::Deserializer::from_str(self.raw)
            .deserialize_map(Members)
            .map_err(|error| self.refuse(error.to_string()))?;
        Ok(Object { members, path: self.path })
    }

    /// The text of an object that is carried as it is.
    ///
    /// # Errors
    /// It is not an object.
    pub(crate) fn object_text(&self) -> Result<Cow<'a, str>, Refused> {
        if self.is_object() { Ok(Cow::Borrowed(self.raw)) } else { Err(self.refuse("must be an object")) }
    }

    /// Reads a value of a fixed shape, such as a provider's usage. `None` when it has another.
    pub(crate) fn shaped<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        crate::lenient::read(self.raw.as_bytes())
    }
}

/// Levels below which a place is not looked for.
const LEVELS_MAX: usize = 32;

/// The place of what stands at this byte of a document.
pub(crate) fn place_at(document: &str, at: usize) -> String {
    let mut path = String::new();
    let mut raw = document.trim_start();
    for _ in 0..LEVELS_MAX {
        let holds = |part: &str| {
            let start = part.as_ptr() as usize - document.as_ptr() as usize;
            (start..start + part.len()).contains(&at)
        };
        let node = Node { raw, path: Path::Root(None) };
        if let Ok(object) = node.object() {
            let Some(member) = object.members.iter().find(|member| holds(member.raw)) else { break };
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(&member.name);
            raw = member.raw;
        } else {
            let elements = node.elements().unwrap_or_default();
            let Some(index) = elements.iter().position(|element| holds(element.get())) else { break };
            path.push_str(&format!("[{index}]"));
            raw = elements[index].get();
        }
    }
    path
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    raw: &'a str,
    taken: Cell<bool>,
}

struct Members;

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some((Name(name), raw)) = map.next_entry::<Name<'de>, &RawValue>()? {
            members.push(Member { name, raw: raw.get(), taken: Cell::new(false) });
        }
        Ok(members)
    }
}

/// The members of an object, of which each is taken at most once.
#[derive(Debug)]
pub(crate) struct Object<'a, 'p> {
    members: Vec<Member<'a>>,
    path: Path<'p>,
}

impl<'a> Object<'a, '_> {
    /// A member that is present; `null` counts as absent.
    pub(crate) fn take(&self, name: &'static str) -> Option<Node<'a, '_>> {
        self.take_if(name, |given| given == name)
    }

    /// The same, which is not taken.
    pub(crate) fn peek(&self, name: &'static str) -> Option<Node<'a, '_>> {
        let member = self.members.iter().find(|member| member.name == name)?;
        let node = Node { raw: member.raw, path: Path::Member(&self.path, name) };
        (!node.is_null()).then_some(node)
    }

    /// A member whose name satisfies `is`; `name` stands for it in paths.
    pub(crate) fn take_if(&self, name: &'static str, is: impl Fn(&str) -> bool) -> Option<Node<'a, '_>> {
        let member = self.members.iter().find(|member| !member.taken.get() && is(&member.name))?;
        member.taken.set(true);
        let node = Node { raw: member.raw, path: Path::Member(&self.path, name) };
        (!node.is_null()).then_some(node)
    }

    /// Whether there is a member of this name that is not `null`; it is not taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.has_if(|given| given == name)
    }

    /// The same for a name that satisfies `is`.
    pub(crate) fn has_if(&self, is: impl Fn(&str) -> bool) -> bool {
        self.members.iter().any(|member| is(&member.name) && member.raw != "null")
    }

    /// A member that must be there.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn need(&self, name: &'static str) -> Result<Node<'a, '_>, Refused> {
        self.take(name).ok_or_else(|| self.lacks(name))
    }

    /// The error that a member is missing.
    pub(crate) fn lacks(&self, name: &'static str) -> Refused {
        Refused::new(Path::Member(&self.path, name).to_string(), "is required")
    }

    /// Leaves out members, by name. Every call says why that is harmless.
    pub(crate) fn leave_out(&self, names: &[&str]) {
        for member in self.members.iter().filter(|member| names.contains(&&*member.name)) {
            member.taken.set(true);
        }
    }

    /// Takes members that say nothing to the upstream, or what it does anyway, and notes those that are there.
    pub(crate) fn mention(&self, names: &[&'static str]) {
        for node in names.iter().filter_map(|name| self.take(name)).filter(|node| !node.is_nothing()) {
            node.mention();
        }
    }

    /// Leaves out members without which the answer is one as well, and notes those that are there.
    ///
    /// # Errors
    /// Nothing may be left out.
    pub(crate) fn hints(&self, names: &[&'static str]) -> Result<(), Refused> {
        let mut given = names.iter().filter_map(|name| self.take(name)).filter(|node| !node.is_nothing());
        given.try_for_each(|node| node.hint(NO_EQUIVALENT))
    }

    /// # Errors
    /// A member was not taken: it is not known what it means at the upstream.
    pub(crate) fn finish(&self) -> Result<(), Refused> {
        let left = self.members.iter().find(|member| !member.taken.get() && member.raw != "null");
        left.map_or(Ok(()), |member| {
            let again = self.members.iter().any(|other| other.taken.get() && other.name == member.name);
            let why = if again { "is given twice" } else { NO_EQUIVALENT };
            Err(Refused::new(Path::Member(&self.path, &member.name).to_string(), why))
        })
    }

    /// An error that names this object.
    pub(crate) fn refuse(&self, why: impl Into<Cow<'static, str>>) -> Refused {
        Refused::new(self.path.to_string(), why)
    }

    /// Calls `each` with the name and the value of every member that was not taken yet, in order, and takes them.
    ///
    /// # Errors
    /// `each` refuses one.
    pub(crate) fn rest(
        &self,
        mut each: impl FnMut(&str, Node<'a, '_>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        for member in self.members.iter().filter(|member| !member.taken.replace(true)) {
            each(&member.name, Node { raw: member.raw, path: Path::Member(&self.path, &member.name) })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Refused};

    fn outcome(
        json: &str,
        parse: impl Fn(Node<'_, '_>) -> Result<(), Refused>,
    ) -> Result<(), (String, String)> {
        Node::document(json.as_bytes())
            .and_then(parse)
            .map_err(|refused| (refused.path.into_owned(), refused.why.into_owned()))
    }

    #[test]
    fn what_is_wrong_is_told_alike_whatever_space_came_before() {
        let told = |json: &str| outcome(json, |_| Ok(()));
        for space in [" ", "\n", "\r\n \t"] {
            for json in ["{", "{\"a\":}", "[1,", "7 8", "{}"] {
                assert_eq!(told(&[space, json].concat()), told(json), "{space:?}{json}");
            }
        }
    }

    #[test]
    fn what_nobody_takes_is_refused_by_its_path() {
        let parse = |node: Node<'_, '_>| {
            let object = node.object()?;
            object.need("list")?.items(|element| {
                let element = element.object()?;
                element.take("a");
                element.leave_out(&["quiet"]);
                element.finish()
            })?;
            object.finish()
        };
        let path = |json: &str| outcome(json, parse).map_err(|(path, _)| path);
        assert_eq!(path(r#"{"list":[{"a":1,"quiet":2},{}]}"#), Ok(()));
        assert_eq!(path(r#"{"list":[{"a":1},{"b":null,"c":2}]}"#), Err("list[1].c".into()));
        assert_eq!(path(r#"{"list":[],"x":1}"#), Err("x".into()));
        assert_eq!(path("{}"), Err("list".into()));
        let twice = outcome(r#"{"list":[{"a":1,"a":2}]}"#, parse);
        assert_eq!(twice, Err(("list[0].a".into(), "is given twice".into())));
    }

    #[test]
    fn a_wrong_type_is_refused_by_its_path() {
        let why = |json: &str, parse: fn(Node<'_, '_>) -> Result<(), Refused>| {
            outcome(json, |node| parse(node.object()?.need("x")?)).unwrap_err()
        };
        let x = |why: &str| ("x".to_owned(), why.to_owned());
        assert_eq!(why(r#"{"x":1}"#, |node| node.text().map(drop)), x("must be a string"));
        assert_eq!(why(r#"{"x":"1"}"#, |node| node.number().map(drop)), x("must be a number"));
        assert_eq!(why(r#"{"x":1}"#, |node| node.boolean().map(drop)), x("must be true or false"));
        assert_eq!(why(r#"{"x":{}}"#, |node| node.items(|_| Ok(()))), x("must be an array"));
        assert_eq!(why(r#"{"x":[]}"#, |node| node.object().map(drop)), x("must be an object"));
        assert!(why(r#"{"x":-1}"#, |node| node.whole().map(drop)).1.starts_with("must be a whole number"));
    }

    #[test]
    fn depth_and_garbage_do_no_harm() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(outcome(&deep, |node| node.object()?.need("x")?.items(|_| Ok(()))).is_ok());
        for body in ["", "{", "nul", "\"\\ud8\"", "{\"a\":}", "[1,]"] {
            assert!(Node::document(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Node::document(b"\"\xff\"").is_err());
    }
}
