//! Whether a pricing policy is pure: the same bill must cost the same whatever was settled before, or a receipt could
//! not be computed again. Instances are used again, so a component could remember.
//!
//! A component is refused when a few bills cost something else in another order. One that remembers for longer than
//! that is found by comparing a settlement now and then with one of a fresh memory.
//!
//! A fresh memory for each settlement would cost 0.17 ms instead of 5 us (unoptimised build); one comparison in 1024
//! settlements costs 0.16 us each, and the trial is part of the 1.1 ms that a load takes without its compilation.

use std::sync::Arc;

use tollgate_core::outcome::Outcome;
use tollgate_core::price::Rates;
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, Usage};

use crate::error::{Fault, LoadError};
use crate::instance::Instance;
use crate::plan::policy::{Bill, Charge};
use crate::pricing::PricingWorld;
use crate::unit::Unit;

/// One settlement of so many is compared with one of a fresh memory.
const COMPARED: u64 = 1024;
/// Bills of the trial.
const BILLS: u32 = 12;

/// Refuses a policy whose charges depend on their order.
pub(crate) fn check(unit: &Arc<Unit<PricingWorld>>) -> Result<(), LoadError> {
    let bills: Vec<_> = (0..BILLS).map(bill).collect();
    let charges =
        charges(unit, &bills).map_err(|Fault { kind, detail }| LoadError::Canary { kind, detail })?;
    let changed = charges.iter().find_map(|of_one| {
        let [first, ..] = of_one.as_slice() else { return None };
        of_one.iter().find(|charge| *charge != first).map(|other| (first.amount.get(), other.amount.get()))
    });
    changed.map_or(Ok(()), |(first, other)| Err(LoadError::Impure { first, other }))
}

/// What each bill costs: in order, backwards with the same memory, and backwards with a fresh one.
fn charges(unit: &Arc<Unit<PricingWorld>>, bills: &[Bill]) -> Result<Vec<Vec<Charge>>, Fault> {
    let mut charges: Vec<Vec<Charge>> = vec![Vec::new(); bills.len()];
    let ordered = || charges_of(bills);
    for round in [ordered().chain(ordered().rev()).collect::<Vec<_>>(), ordered().rev().collect()] {
        let (mut instance, _) = Instance::make(unit)?;
        for (at, bill) in round {
            charges[at].push(settle(&mut instance, bill)?);
        }
    }
    Ok(charges)
}

fn charges_of(bills: &[Bill]) -> impl DoubleEndedIterator<Item = (usize, &Bill)> {
    bills.iter().enumerate()
}

/// Whether this settlement is one of those that are compared.
#[inline]
pub(crate) fn is_compared(unit: &Unit<PricingWorld>) -> bool {
    unit.vitals.calls().is_multiple_of(COMPARED)
}

/// Compares a charge with that of a fresh memory.
#[cold]
pub(crate) fn compare(unit: &Arc<Unit<PricingWorld>>, bill: &Bill, charge: &Charge) -> Result<(), Fault> {
    // What keeps another instance from being made is no fault of this one.
    let Ok((mut fresh, _)) = Instance::make(unit) else { return Ok(()) };
    match settle(&mut fresh, bill) {
        Ok(anew) if anew != *charge => Err(Fault::guest(format!(
            "it charged {} micro-points, and {} with a fresh memory: its charges depend on earlier requests",
            charge.amount.get(),
            anew.amount.get()
        ))),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn settle(instance: &mut Instance<PricingWorld>, bill: &Bill) -> Result<Charge, Fault> {
    instance.enter(|world, store| Ok(Ok(world.settle(store, bill)?)))
}

/// Bills that differ in all that a policy may look at.
fn bill(n: u32) -> Bill {
    let n = u64::from(n);
    let rates: Vec<_> = Class::ALL.into_iter().zip((1..).map(|rate| 1_000_000 * rate)).collect();
    let usage: Vec<_> = Class::ALL.into_iter().zip((1..).map(|at| n * 500 / at)).collect();
    Bill {
        rates: Rates::of(8, &rates),
        usage: Usage::of(Quality::Exact, &usage),
        outcome: if n % 4 == 3 { Outcome::Partial } else { Outcome::Ok },
        owner: [Owner::Platform, Owner::User, Owner::Shared][(n % 3) as usize],
        // Every seven hours from a Tuesday on.
        at: Timestamp::from_millis(1_700_000_000_000 + 25_200_000 * n),
    }
}
