//! Taking disjoint parts out of a total, and totals that are stated again.

use tollgate_plugin::types::{Class, Quality, Side, Usage};

/// Takes `part` out of `rest` and returns it: at most what there is, and nothing when the provider did not state it.
///
/// Totals that contain their parts become disjoint classes by one call per part; what is left over is the plain class.
pub fn take(rest: &mut u64, part: Option<u64>) -> u64 {
    let taken = part.unwrap_or(0).min(*rest);
    *rest -= taken;
    taken
}

/// What is known once usage is stated again. Counts only grow: a side that has fallen to nothing was not counted again,
/// and what was stated of it before holds.
#[must_use]
pub(crate) fn later(earlier: Usage, later: Usage) -> Usage {
    if later.quality == Quality::Missing {
        return earlier;
    }
    let mut usage = later;
    for side in [Side::Prompt, Side::Output] {
        if later.tokens_of(side) == 0 && earlier.tokens_of(side) > 0 {
            for class in Class::ALL.into_iter().filter(|class| class.is_tokens_of(side)) {
                usage[class] = earlier[class];
            }
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::{Class, Quality, Usage, later, take};

    #[test]
    fn a_side_does_not_fall_to_nothing() {
        let usage = |input, cached, output| {
            let amounts = [(Class::Input, input), (Class::CacheRead, cached), (Class::Output, output)];
            Usage::of(Quality::Exact, &amounts)
        };
        assert_eq!(later(usage(10, 2, 5), usage(0, 0, 0)), usage(10, 2, 5));
        assert_eq!(later(usage(10, 2, 5), usage(12, 0, 0)), usage(12, 0, 5));
        assert_eq!(later(usage(10, 2, 1), usage(10, 2, 5)), usage(10, 2, 5));
        assert_eq!(later(usage(10, 2, 1), Usage::MISSING), usage(10, 2, 1));
        assert_eq!(later(Usage::MISSING, usage(0, 0, 0)), usage(0, 0, 0));
    }

    #[test]
    fn parts_never_exceed_their_total() {
        let mut rest = 10;
        assert_eq!([take(&mut rest, Some(7)), take(&mut rest, None), take(&mut rest, Some(7))], [7, 0, 3]);
        assert_eq!(rest, 0);
    }
}
