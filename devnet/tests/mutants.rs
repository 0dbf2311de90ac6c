//! Does the simulation notice a node that forgets an obligation? Each bug must be caught within its number of seeds, by
//! checkers that know nothing of bugs.

use sillok_devnet::console;
use sillok_devnet::sim::{TABLE, catch};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_mutant_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let Some(entry) = TABLE.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let caught = catch(entry);
                    let seen = format!("{:45} {:?} {}", caught.bug, caught.seed, caught.rule);
                    console::line(seen);
                    if caught.seed.is_none() {
                        missed.lock().unwrap().push(caught.bug);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
