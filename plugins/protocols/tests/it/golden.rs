//! Every case comes out as its file says.

use crate::cases::Case;

#[test]
fn what_comes_out_is_what_the_files_say() {
    let stale: Vec<_> = Case::all().into_iter().filter(|case| !case.is_current()).collect();
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        for case in &stale {
            std::fs::write(&case.path, case.expected()).unwrap();
        }
        return;
    }
    for case in &stale {
        eprintln!("{} should be:\n{}", case.path.display(), case.expected());
    }
    assert!(stale.is_empty(), "{} cases differ; TOLLGATE_BLESS=1 rewrites them", stale.len());
}
