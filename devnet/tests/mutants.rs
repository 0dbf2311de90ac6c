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
                    let seed = caught.seed.map_or("not caught".to_owned(), |seed| seed.to_string());
                    console::line(format!(
                        "{:50} {seed:>4} {} [{}] {} panics{}",
                        caught.bug,
                        caught.rule,
                        caught.exception,
                        caught.panics,
                        caught.unclean.as_ref().map_or(String::new(), |one| format!(" {one:?}"))
                    ));
                    if !caught.is_proof() {
                        missed.lock().unwrap().push(caught.bug);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not noticed, or not for its own sake: {missed:?}");
}
