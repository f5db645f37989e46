//! Whether JSON that comes in pieces is complete.

/// Follows the brackets of one object.
#[derive(Debug, Default)]
pub(crate) struct Nesting {
    depth: u32,
    opened: bool,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            self.step(byte);
        }
    }

    /// Takes the next piece up to the end of the object, and returns what of it that is.
    pub(crate) fn push_to_end<'p>(&mut self, piece: &'p str) -> &'p str {
        let end = piece.bytes().position(|byte| {
            self.step(byte);
            self.is_closed()
        });
        end.map_or(piece, |end| &piece[..=end])
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.opened = true;
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Whether the object ended.
    pub(crate) const fn is_closed(&self) -> bool {
        self.opened && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::Nesting;

    #[test]
    fn an_object_is_complete_at_its_last_bracket_and_not_before() {
        let object = r#"{"a":[{"b":"}]\"\\"}],"c":{}}"#;
        for end in 0..object.len() {
            let mut nesting = Nesting::default();
            nesting.push(&object[..end]);
            assert!(!nesting.is_closed(), "{end}");
            nesting.push(&object[end..]);
            assert!(nesting.is_closed(), "{end}");
        }
    }
}
