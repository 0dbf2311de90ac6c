//! What the process holds in memory, told once a minute in the log.
//!
//! So that an operator can tell a cache that fills from a leak: the database's part is bounded by `storage.memory_bytes_max`,
//! that of waiting transactions by `mempool.bytes_max`. Not here: bounds; each is kept where the memory is.

use crate::ledger::Ledger;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is told.
const EVERY: Duration = Duration::from_secs(60);

/// Tells it until the node stops.
pub(crate) async fn tell(ledger: Arc<Ledger>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // Asks the system and the database, which may wait for locks of theirs.
        let ledger = ledger.clone();
        let told = tokio::task::spawn_blocking(move || say(&ledger));
        // It fails only while the process ends.
        let _ = told.await;
    }
}

fn say(ledger: &Ledger) {
    let database = ledger.storage.memory();
    let mempool = ledger.mempool().bytes();
    tracing::info!(
        event = "memory",
        process = resident_bytes(),
        database_read = database.read_bytes,
        database_unwritten = database.unwritten_bytes,
        database_tables = database.tables_bytes,
        mempool,
        replay = ledger.tip().replay.len(),
    );
}

/// Bytes of memory that this process holds; `None` where the system has no `/proc`.
fn resident_bytes() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of proc(5), in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_read() {
        let status = "Name:\tsillok-node\nVmHWM:\t  300 kB\nVmRSS:\t   120 kB\nRssAnon:\t 100 kB\n";
        assert_eq!(resident(status), Some(120 * 1024));
        assert_eq!(resident("Name:\tsillok-node\n"), None);
    }
}
