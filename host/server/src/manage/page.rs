//! Lists, page by page: which part of one is wanted, and the part itself.

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<I> {
    /// The entry after which the page begins; the list's first page without it.
    pub after: Option<I>,
    /// Most entries of the page.
    pub limit: usize,
}

impl<I> Window<I> {
    /// The first page of a list.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// One entry more than wanted, which tells whether the list goes on.
    pub(super) const fn limit_and_one(&self) -> usize {
        self.limit.saturating_add(1)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, I> {
    /// The entries.
    pub rows: Vec<T>,
    /// [`Window::after`] of the next page; `None` on the last one.
    pub next: Option<I>,
}

impl<T, I> Page<T, I> {
    /// A page of rows, of which one more than `limit` was asked for.
    pub(crate) fn new(mut rows: Vec<T>, limit: usize, place: impl FnOnce(&T) -> I) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(place);
        Self { rows, next }
    }

    /// The same page of other entries.
    pub(crate) fn map<U>(self, entry: impl FnMut(T) -> U) -> Page<U, I> {
        Page { rows: self.rows.into_iter().map(entry).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_names_the_next_one_only_where_there_is_more() {
        let check = |rows: &[u8], limit, shown: &[u8], next| {
            let page = Page::new(rows.to_vec(), limit, |row| *row);
            assert_eq!((page.rows.as_slice(), page.next), (shown, next));
        };
        check(&[], 2, &[], None);
        check(&[1, 2], 2, &[1, 2], None);
        check(&[1, 2, 3], 2, &[1, 2], Some(2));
    }
}
