//! Launches that wait for their dependents (CUDA C++ Programming Guide, "Programmatic Dependent Launch and
//! Synchronization").
//!
//! A kernel with `griddepcontrol.launch_dependents` does not run at its launch: the next launch may be its dependent,
//! and both then overlap. It runs at the latest when a program could notice that it has not, and what goes wrong in it
//! is told by that call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::abi::Handle;
use super::state::{Driver, driver};
use super::status::Status;
use super::{launch, observe};
use crate::machine::{Launch, launches_dependents};

/// The launches of a context that wait: each is a dependent of the one before. Contexts have nothing to do with each
/// other: what one thread does in its own neither runs another's early nor waits for it.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<Option<Chain>>>);

struct Chain {
    stream: Handle,
    launches: Vec<Launch>,
}

/// Launches that wait at a time; programs that never synchronise would gather more and more.
const MOST_WAITING: usize = 64;

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Option<Chain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a launch that overlaps with the one before it, or may with the one after it; gives others back, to be run at
/// once.
pub(super) fn enqueue(
    driver: &Driver,
    context: Handle,
    stream: Handle,
    launch: Launch,
    is_dependent: bool,
) -> Result<Option<Launch>, Status> {
    let queue = driver.objects().live_context(context)?.queue.clone();
    let mut waiting = queue.lock();
    let follows = |chain: &Chain| is_dependent && chain.stream == stream;
    if !waiting.as_ref().is_some_and(follows) {
        run(driver, context, waiting.take());
        // It may have broken the context.
        driver.objects().current()?;
    }
    let may_have_dependent = launches_dependents(&launch.kernel);
    if waiting.is_none() && !may_have_dependent {
        return Ok(Some(launch));
    }
    let checked = driver.device.check_launch(&launch).map(|()| Vec::new());
    launch::settle(driver, context, checked)?;
    let chain = waiting.get_or_insert_with(|| Chain {
        stream,
        launches: Vec::new(),
    });
    chain.launches.push(launch);
    if !may_have_dependent || chain.launches.len() >= MOST_WAITING {
        run(driver, context, waiting.take());
    }
    Ok(None)
}

/// Runs what waits in the current context. Every function that could tell whether it ran calls this first, or
/// [`finish_launches_of`] where it is about another context.
pub(super) fn finish_launches() {
    let Ok(driver) = driver() else {
        return;
    };
    let context = driver.objects().current_even_if_failed();
    finish_launches_of(context.ok());
}

/// Runs what waits in a context, if there is one.
pub(super) fn finish_launches_of(context: Option<Handle>) {
    let (Ok(driver), Some(context)) = (driver(), context) else {
        return;
    };
    let queue = driver
        .objects()
        .live_context(context)
        .map(|context| context.queue.clone());
    if let Ok(queue) = queue {
        // The lock is held meanwhile: another thread that asks has to wait as well.
        let mut waiting = queue.lock();
        run(driver, context, waiting.take());
    }
}

fn run(driver: &Driver, context: Handle, chain: Option<Chain>) {
    let Some(chain) = chain else {
        return;
    };
    let outcome = driver.device.launch_chain(&chain.launches);
    observe::write();
    // All were checked before: this is no refusal, and the context keeps the failure.
    let _ = launch::settle(driver, context, outcome);
}
