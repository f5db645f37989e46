//! The runtime's own thread: rolls back what fails on trial, and drops what no request uses any more, because unmapping
//! code and pools takes too long for a thread that serves.

use std::any::Any;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::registry::Registry;
use crate::vitals::Signal;

/// How soon old generations are looked at after one was replaced; twice as long each time after that.
const ROUND_MIN: Duration = Duration::from_millis(20);
/// How often anything is looked at.
const ROUND_MAX: Duration = Duration::from_secs(5);

/// Starts the thread. It ends with the runtime.
pub(crate) fn start(runtime: &Arc<Registry>, inbox: Receiver<Signal>) -> io::Result<()> {
    let runtime = Arc::downgrade(runtime);
    thread::Builder::new().name("tollgate-components".into()).spawn(move || run(&runtime, &inbox))?;
    Ok(())
}

fn run(runtime: &Weak<Registry>, inbox: &Receiver<Signal>) {
    let mut retired: Vec<Arc<dyn Any + Send + Sync>> = Vec::new();
    let mut round = ROUND_MAX;
    loop {
        match inbox.recv_timeout(round) {
            Ok(Signal::Failing(vitals)) => {
                if let Some(runtime) = runtime.upgrade() {
                    runtime.roll_back(&vitals);
                }
            }
            Ok(Signal::Bury(remains)) => drop(remains),
            Ok(Signal::Retire(generation)) => {
                retired.push(generation);
                round = ROUND_MIN;
            }
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                round = (round * 2).min(ROUND_MAX);
                if let Some(runtime) = runtime.upgrade() {
                    runtime.end_trials();
                }
            }
        }
        retired.retain(|generation| Arc::strong_count(generation) > 1);
    }
}
