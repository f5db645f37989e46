//! Taking disjoint parts out of a total.

/// Takes `part` out of `rest` and returns it: at most what there is, and nothing when the provider did not state it.
///
/// Totals that contain their parts become disjoint classes by one call per part; what is left over is the plain class.
pub fn take(rest: &mut u64, part: Option<u64>) -> u64 {
    let taken = part.unwrap_or(0).min(*rest);
    *rest -= taken;
    taken
}

#[cfg(test)]
mod tests {
    use super::take;

    #[test]
    fn parts_never_exceed_their_total() {
        let mut rest = 10;
        assert_eq!([take(&mut rest, Some(7)), take(&mut rest, None), take(&mut rest, Some(7))], [7, 0, 3]);
        assert_eq!(rest, 0);
    }
}
