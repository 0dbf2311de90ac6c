//! The law of rights and status on a network of real processes: four validators, which all these stories share.
//!
//! Each rule has its tests in `ledger`; here it holds between validators, for whoever brings what at the same moment.

#[cfg(test)]
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod harness;

#[cfg(test)]
#[path = "law/thief.rs"]
mod thief;

#[cfg(test)]
#[path = "law/crowd.rs"]
mod crowd;

#[cfg(test)]
#[path = "law/ministry.rs"]
mod ministry;

#[cfg(test)]
#[path = "law/notices.rs"]
mod notices;

#[cfg(test)]
mod law {
    use super::harness::Network;
    use sillok_devnet::desk::Desk;
    use sillok_devnet::race::{self, Race, RaceReport};
    use std::process::Command;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

    /// One network for all: it is stopped when this program ends, however that is.
    static NETWORK: OnceLock<Network> = OnceLock::new();

    /// One story at a time: each finds the machine as it is.
    static ALONE: Mutex<()> = Mutex::new(());

    /// The network, to oneself.
    pub(super) fn network() -> (&'static Network, MutexGuard<'static, ()>) {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        (NETWORK.get_or_init(|| Network::start("law", 4, 0)), alone)
    }

    pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    /// A desk of the registrar with a type of its own.
    pub(super) async fn desk(network: &Network) -> Desk {
        Desk::of_registrar(network.scene()).await.unwrap()
    }

    fn show(report: &RaceReport) {
        sillok_devnet::console::note(format!("{report:?}"));
    }

    #[test]
    fn a7_of_two_phones_at_two_validators_one_becomes_active() {
        let (network, _alone) = network();
        let race = Race { times: 25, seed: Some(7), at_once: 6, json: true };
        let report = block_on(race::measure(&network.devnet(), &race)).unwrap();
        show(&report);
        assert!(report.counted >= 25, "{report:?}");
        assert_eq!(report.kinds.values().map(|of| of.races).sum::<u64>(), report.counted);
        assert_eq!(report.kinds.len(), 3, "each kind was raced for");
        assert!(report.refusals["ONE_DEVICE"] >= 2 * report.counted, "both validators say so");
        assert_eq!(report.refusals.len(), 1);
        let ran = report.counted + report.not_in_both + report.too_far_apart;
        assert_eq!(report.proved_reads, ran * 4 * 2, "all four nodes prove the outcome of each");
    }

    #[test]
    fn the_race_of_the_command_line_prints_what_it_counted() {
        let (network, _alone) = network();
        let output = Command::new(env!("CARGO_BIN_EXE_sillok-devnet"))
            .args(["race", "--times", "2", "--seed", "1", "--at-once", "4", "--json", "--dir"])
            .arg(&network.directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["counted"].as_u64() >= Some(2), "{report}");
        assert_eq!(report["seed"], 1);
    }
}
