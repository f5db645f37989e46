//! Reads statements of usage as nearly every server writes them: objects of whole numbers, within each other. That is a
//! fraction of the work of reading any JSON leniently. Whatever is written in another way is read as such, by
//! [`crate::lenient`]: the two agree wherever this one says anything.

/// A position in such a statement.
pub(crate) struct Counts<'a> {
    rest: &'a [u8],
}

impl<'a> Counts<'a> {
    /// What a whole text states; `None` where it is written in another way.
    pub(crate) fn of<T>(json: &'a [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut counts = Self { rest: json };
        let stated = read(&mut counts)?;
        counts.next().is_none().then_some(stated)
    }

    /// Reads an object: `member` reads the value of each member.
    pub(crate) fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.next() == Some(b'}') {
            return self.take(b'}');
        }
        loop {
            self.take(b'"')?;
            let end = self.rest.iter().position(|&byte| byte == b'"')?;
            let (name, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest;
            self.take(b'"')?;
            self.take(b':')?;
            member(self, name)?;
            match self.next()? {
                b',' => self.take(b',')?,
                _ => return self.take(b'}'),
            }
        }
    }

    /// Reads a count, or `null`, into a place that has none yet.
    pub(crate) fn count(&mut self, place: &mut Option<u64>) -> Option<()> {
        let stated = if self.next()? == b'n' { self.null()? } else { Some(self.number()?) };
        if place.is_some() {
            return None;
        }
        *place = stated;
        Some(())
    }

    /// Reads a count that nobody asks for, or `null`, of a name that is surely one.
    pub(crate) fn other(&mut self, name: &[u8]) -> Option<()> {
        let plain = name.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if plain { self.count(&mut None) } else { None }
    }

    /// Reads an object, or `null`, into a place that has none yet.
    pub(crate) fn within<T>(
        &mut self,
        place: &mut Option<T>,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<()> {
        let stated = if self.next()? == b'n' { self.null()? } else { Some(read(self)?) };
        if place.is_some() {
            return None;
        }
        *place = stated;
        Some(())
    }

    fn null<T>(&mut self) -> Option<Option<T>> {
        self.rest = self.rest.strip_prefix(b"null")?;
        Some(None)
    }

    /// A whole number that surely fits.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        let plain = matches!(number, [b'1'..=b'9', ..] | [b'0']) && digits <= 18;
        // What goes on is a fraction or has an exponent.
        if !plain || !matches!(rest.first(), Some(b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t')) {
            return None;
        }
        self.rest = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    /// The next byte that is no space, which is not taken.
    fn next(&mut self) -> Option<u8> {
        while let Some((b' ' | b'\n' | b'\r' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        if self.next()? != byte {
            return None;
        }
        self.rest = self.rest.get(1..)?;
        Some(())
    }
}
