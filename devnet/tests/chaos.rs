//! Short runs of `chaos`: each starts a network of its own, breaks it, and checks everything in the end.

#[cfg(test)]
mod chaos {
    use sillok_devnet::chaos::{self, Chaos, ChaosReport, Fault};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// One network at a time: the runs measure patience.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does these faults, at least one of them, and more until the time is over.
    fn run(seconds: f64, only: &[Fault], no_root: bool) -> ChaosReport {
        let _alone = alone();
        let chaos = Chaos {
            minutes: seconds / 60.0,
            seed: 1,
            validators: 4,
            rate: 8.0,
            only: only.to_vec(),
            no_root,
            keep: false,
            node_binary: None,
            json: true,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let report = runtime.block_on(chaos::measure(&chaos)).unwrap();
        assert_eq!(report.broken, Vec::<String>::new());
        assert!(report.promised > 0 && report.reads_right > 0);
        // One node more, an observer.
        assert_eq!(report.found, report.promised * (chaos.validators + 1));
        report
    }

    #[test]
    fn nothing_is_lost_when_machines_links_and_disks_fail_and_nobody_has_to_help() {
        let report = run(30.0, &[Fault::Kill, Fault::Pause, Fault::OneWay], false);
        assert!(report.faults.len() >= 3, "{:?}", report.faults);
    }

    #[test]
    fn f3_a_validator_whose_storage_fails_stops_voting_and_comes_back_by_itself() {
        let disks = [Fault::DiskFull, Fault::ReadOnly];
        let report = run(25.0, &[disks[0], disks[1], Fault::Kill], false);
        // A file system of its own for each node asks for root, and the run says so where there is none.
        if report.not_done.is_empty() {
            for disk in disks {
                assert!(report.faults.iter().any(|one| one.fault == disk && one.restarts > 0));
            }
        }
    }

    #[test]
    fn a_partition_by_relays_heals_where_root_is_not_to_be_had() {
        let report = run(8.0, &[Fault::Partition], true);
        assert!(report.partitions.contains("relay"));
    }

    #[test]
    fn a25_with_too_many_gone_writes_stop_and_every_answer_states_its_height_and_age() {
        let report = run(1.0, &[Fault::TooMany], false);
        assert!(report.faults[0].note.contains("stood still"), "{:?}", report.faults);
    }

    #[test]
    fn a25_with_one_of_four_lying_reads_stay_correct_and_writes_go_on() {
        let report = run(1.0, &[Fault::Equivocate], false);
        assert!(report.faults[0].note.contains("evidence"), "{:?}", report.faults);
    }

    #[test]
    fn d15_an_upgrade_of_one_node_after_the_other_fails_no_read_and_loses_no_write() {
        let report = run(1.0, &[Fault::Upgrade], false);
        assert_eq!(report.faults[0].victims.len(), 4);
        assert_eq!(report.reads_missed, 0);
    }

    #[test]
    fn a_transaction_that_panics_execution_costs_rounds_and_no_process() {
        run(1.0, &[Fault::Panicking], false);
    }

    #[test]
    fn a_transaction_on_which_another_build_differs_costs_rounds_and_no_process() {
        run(1.0, &[Fault::Diverging], false);
    }
}
