//! What follows from a failed attempt, as ARCHITECTURE.md tells it and as the code decides it.

use tollgate_core::failure::FailureClass;
use tollgate_core::retry::{Budget, Decision, Phase, decide};
use tollgate_core::wait::RetryAfter;

/// The rows of the table, as the code decides where attempts are left.
fn decided() -> Vec<[String; 3]> {
    let row = |name: &str, class, told, phase| {
        let Decision { next, penalty } = decide(class, told, phase, Budget { attempts_left: 1 });
        [name.to_owned(), next.name().to_owned(), penalty.name().to_owned()]
    };
    let mut rows = Vec::new();
    for class in FailureClass::ALL {
        let name = format!("`{}`", class.name());
        let untold = row(&name, class, None, Phase::Unanswered);
        let told = format!("{name}, and the provider said how long to wait");
        let told = row(&told, class, Some(RetryAfter::from_ms(1)), Phase::Unanswered);
        let differs = told[1..] != untold[1..];
        rows.push(untold);
        rows.extend(differs.then_some(told));
    }
    let (invalid, transient) = (FailureClass::InvalidCredential, FailureClass::Transient);
    let stale = "a refused access token in whose place another can be had";
    rows.push(row(stale, invalid, None, Phase::StaleToken));
    rows.push(row("no byte in time", transient, None, Phase::Silent));
    rows
}

#[test]
fn the_table_of_retries_says_what_the_code_decides() {
    let page = include_str!("../../ARCHITECTURE.md");
    let section = page.split("\n### Retry\n").nth(1).expect("there is a section on retries");
    let section = section.split("\n### ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let told: Vec<Vec<&str>> = rows.skip(1).map(|row| row.split(" | ").collect()).collect();
    assert_eq!(told, decided());
}
