//! A small run of `privacy`: real processes, whole lives, and a search of all that they left behind.

#[cfg(test)]
mod privacy {
    use sillok_devnet::privacy::{self, Privacy};

    #[tokio::test(flavor = "multi_thread")]
    async fn a1_a24_b15_c4_nothing_of_anybody_is_left_anywhere_and_every_canary_is_found() {
        let asked = Privacy {
            people: 160,
            seed: 11,
            reads: 400,
            keep: false,
            node_binary: None,
            json: true,
        };
        let report = privacy::measure(&asked).await.unwrap();
        assert_eq!(report.broken(), Vec::<String>::new());
        // Registered, reserved, activated, issued and refreshed at the least.
        assert!(report.operations > 4 * 160, "{report:?}");
        assert_eq!(report.refreshes, (8, 8));
        assert_eq!(report.reads, 800);
        for (place, least) in [("database", 20), ("gossip", 20), ("log", 10), ("metric", 3)] {
            let place = &report.places[place];
            assert!(place.planted >= least && place.canaries_found == place.planted, "{report:?}");
            assert!(place.pieces > 0 && place.bytes > 1_000, "{report:?}");
        }
        assert!(report.places["disk"].bytes > 100_000);
        assert!(report.attributes > 160 * 9, "{report:?}");
    }
}
