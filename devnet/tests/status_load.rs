//! A small run of `status-load`: real processes, every bit and every proof.

#[cfg(test)]
mod status_load {
    use sillok_devnet::status_load::{self, StatusLoad};

    #[tokio::test(flavor = "multi_thread")]
    async fn every_entry_and_every_revocation_is_shown_and_proved_in_both_encodings() {
        let load = StatusLoad {
            entries: 20_000,
            revocations: 2_500,
            seed: 7,
            lists: 2,
            batch: 4_000,
            revocation_batch: 3,
            within: 60.0,
            concurrency: 8,
            validators: 4,
            keep: false,
            node_binary: None,
            json: true,
        };
        let report = status_load::measure(&load).await.unwrap();
        assert_eq!((report.issued.entries, report.revoked.entries), (20_000, 2_500));
        // 2,500 in threes, the rest of each list by itself.
        assert!((834..=836).contains(&report.revoked.operations), "{:?}", report.revoked);
        // Both lists, from four validators, twice.
        let lists = 2 * 4 * 2;
        let capacity = usize::try_from(report.capacity).unwrap();
        assert_eq!(report.compared.exports, lists);
        assert_eq!(report.compared.token_entries, lists * capacity);
        assert_eq!(report.compared.bits, 2 * lists * capacity);
        assert_eq!(report.compared.chunk_entries, lists * capacity);
        assert_eq!(
            report.compared.receipts,
            report.issued.transactions + report.revoked.transactions
        );
        assert!(report.disk[1].settled_bytes > report.disk[0].settled_bytes);
        assert!(report.blocks_executed_again >= report.revoked.heights.1);
        assert!(report.revoked.bare_seconds > 0.0);
    }
}
