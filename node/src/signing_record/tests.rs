//! The signing record under kills, power loss and bad disks.

use super::*;
use proptest::prelude::*;
use sillok_proto::v1::{SignedVote, TimeoutElapsed, wal_entry};
use std::time::Instant;
use tempfile::TempDir;

const GENESIS: Hash = Hash([3; 32]);
const SEED: [u8; 32] = [5; 32];

fn entry(height: u64, round: u32) -> WalEntry {
    let timeout = TimeoutElapsed { kind: 1, round };
    WalEntry { height, entry: Some(wal_entry::Entry::Timeout(timeout)) }
}

/// A directory with a record in which nothing was signed.
fn created() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("validator");
    SigningRecord::create(&directory, GENESIS, &SEED).unwrap();
    (parent, directory)
}

fn open(directory: &Path) -> Opened {
    SigningRecord::open(directory, GENESIS).unwrap()
}

fn refusal(directory: &Path) -> SigningRecordError {
    SigningRecord::open(directory, GENESIS).unwrap_err()
}

/// What a record holds when its log is `bytes`.
#[allow(clippy::unwrap_in_result, reason = "the result is what is tested")]
fn opened_with(directory: &Path, bytes: &[u8]) -> Result<(u64, Vec<WalEntry>), SigningRecordError> {
    fs::write(directory.join(RECORD_FILE), bytes).unwrap();
    SigningRecord::open(directory, GENESIS).map(|opened| (opened.height, opened.entries))
}

/// Three heights; the last one has two synced entries and two that were written but never synced. Answers the
/// log's bytes and how many of them were made durable.
fn three_heights(directory: &Path) -> (Vec<u8>, usize) {
    let mut record = open(directory).record;
    for height in [1, 2, 3] {
        record.reset(height).unwrap();
        record.append(&entry(height, 0)).unwrap();
        record.sync().unwrap();
        record.append(&entry(height, 1)).unwrap();
        record.sync().unwrap();
    }
    let durable = usize::try_from(record.written).unwrap() - (PREFIX_BYTES + 9);
    record.append(&entry(3, 2)).unwrap();
    record.append(&entry(3, 3)).unwrap();
    record.write_pending().unwrap();
    (fs::read(directory.join(RECORD_FILE)).unwrap(), durable)
}

#[test]
fn what_was_synced_is_replayed_in_order_and_only_of_the_latest_height() {
    let (_parent, directory) = created();
    let mut record = open(&directory).record;
    record.reset(7).unwrap();
    record.append(&entry(7, 0)).unwrap();
    record.sync().unwrap();
    record.reset(8).unwrap();
    record.append(&entry(8, 0)).unwrap();
    record.append(&entry(8, 1)).unwrap();
    record.sync().unwrap();
    drop(record);
    let opened = open(&directory);
    assert_eq!(opened.height, 8);
    assert_eq!(opened.entries, [entry(8, 0), entry(8, 1)]);
    assert_eq!(opened.record.key().public(), SecretKey::from_seed(&SEED).public());
}

#[test]
fn a_new_record_has_no_height() {
    let (_parent, directory) = created();
    let opened = open(&directory);
    assert_eq!((opened.height, opened.entries.len()), (0, 0));
}

#[test]
fn a_started_height_is_remembered_though_nothing_was_signed() {
    let (_parent, directory) = created();
    let mut record = open(&directory).record;
    record.reset(41).unwrap();
    record.sync().unwrap();
    drop(record);
    let opened = open(&directory);
    assert_eq!((opened.height, opened.entries.len()), (41, 0));
}

#[test]
fn a_key_is_retired_also_before_its_record_has_a_height() {
    let (_parent, directory) = created();
    let mut record = open(&directory).record;
    let retired = v1::KeyRetired { height: 7, round: 0 };
    let entry = WalEntry { height: 0, entry: Some(wal_entry::Entry::KeyRetired(retired)) };
    record.append(&entry).unwrap();
    record.sync().unwrap();
    drop(record);
    let opened = open(&directory);
    assert_eq!((opened.height, opened.entries), (0, vec![entry]));
}

#[test]
fn entries_and_heights_out_of_turn_are_refused() {
    let (_parent, directory) = created();
    let mut record = open(&directory).record;
    assert!(matches!(
        record.append(&entry(0, 0)),
        Err(SigningRecordError::WrongHeight { current: 0, entry: 0 })
    ));
    record.reset(5).unwrap();
    assert!(matches!(
        record.append(&entry(6, 0)),
        Err(SigningRecordError::WrongHeight { current: 5, entry: 6 })
    ));
    for height in [4, 5] {
        assert!(matches!(
            record.reset(height),
            Err(SigningRecordError::HeightNotIncreasing { current: 5, .. })
        ));
    }
}

#[test]
fn a_key_without_its_record_never_signs_again() {
    let (_parent, directory) = created();
    fs::remove_file(directory.join(RECORD_FILE)).unwrap();
    let refusal = refusal(&directory);
    assert!(matches!(refusal, SigningRecordError::RecordMissing { .. }), "{refusal}");
    assert!(refusal.to_string().contains("re-key"), "{refusal}");
}

#[test]
fn a_record_without_its_key_and_a_directory_without_either_are_told_apart() {
    let (parent, directory) = created();
    assert!(matches!(
        refusal(&parent.path().join("other")),
        SigningRecordError::NoValidator { .. }
    ));
    fs::remove_file(directory.join(KEY_FILE)).unwrap();
    assert!(matches!(refusal(&directory), SigningRecordError::Key(KeyError::Missing { .. })));
}

#[test]
fn a_record_of_another_network_or_key_is_refused() {
    let (_parent, directory) = created();
    let other = SigningRecord::open(&directory, Hash([4; 32])).unwrap_err();
    assert!(matches!(other, SigningRecordError::WrongNetwork { .. }), "{other}");
    fs::remove_file(directory.join(KEY_FILE)).unwrap();
    SecretKey::from_seed(&[6; 32]).write_new(&directory.join(KEY_FILE)).unwrap();
    assert!(matches!(refusal(&directory), SigningRecordError::WrongKey { .. }));
}

#[test]
fn a_second_process_is_refused() {
    let (_parent, directory) = created();
    let _held = open(&directory);
    let refusal = refusal(&directory);
    assert!(matches!(refusal, SigningRecordError::Lock(LockError::Held { .. })), "{refusal}");
}

#[test]
fn a_validator_directory_is_never_overwritten() {
    let (_parent, directory) = created();
    let again = SigningRecord::create(&directory, GENESIS, &[9; 32]).unwrap_err();
    assert!(matches!(again, SigningRecordError::Exists { .. }), "{again}");
    assert_eq!(open(&directory).record.key().public(), SecretKey::from_seed(&SEED).public());
}

#[test]
fn what_a_crash_left_of_an_unfinished_directory_is_not_in_the_way() {
    let parent = tempfile::tempdir().unwrap();
    fs::create_dir(parent.path().join("validator.unfinished")).unwrap();
    fs::write(parent.path().join("validator.unfinished/validator.key"), "half").unwrap();
    let directory = parent.path().join("validator");
    SigningRecord::create(&directory, GENESIS, &SEED).unwrap();
    open(&directory);
    assert!(!parent.path().join("validator.unfinished").exists());
}

#[test]
fn cut_at_every_byte_all_that_was_synced_before_the_cut_is_replayed() {
    let (_parent, directory) = created();
    let (bytes, durable) = three_heights(&directory);
    let mut seen = (0, 0);
    for cut in 0..=bytes.len() {
        match opened_with(&directory, &bytes[..cut]) {
            Ok((height, entries)) => {
                assert!((height, entries.len()) >= seen, "cut at {cut} lost something");
                seen = (height, entries.len());
                for (round, found) in (0..).zip(&entries) {
                    assert_eq!(*found, entry(height, round), "cut at {cut}");
                }
                if cut >= durable {
                    assert!(height == 3 && entries.len() >= 2, "cut at {cut} lost a synced entry");
                }
            }
            Err(error) => assert!(cut < HEADER_BYTES, "cut at {cut}: {error}"),
        }
    }
    assert_eq!(seen, (3, 4));
}

#[test]
fn a_cut_record_goes_on_from_where_it_was_cut() {
    let (_parent, directory) = created();
    let (bytes, durable) = three_heights(&directory);
    for cut in durable..bytes.len() {
        fs::write(directory.join(RECORD_FILE), &bytes[..cut]).unwrap();
        let Opened { mut record, mut entries, .. } = open(&directory);
        record.append(&entry(3, 9)).unwrap();
        record.sync().unwrap();
        drop(record);
        entries.push(entry(3, 9));
        assert_eq!(open(&directory).entries, entries, "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_in_what_was_synced_halts_and_in_what_was_not_is_cut_off() {
    let (_parent, directory) = created();
    let (bytes, durable) = three_heights(&directory);
    for offset in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1 << (offset % 8);
        match opened_with(&directory, &damaged) {
            Err(SigningRecordError::Damaged { .. }) => {
                assert!(offset < durable, "byte {offset} was never made durable");
            }
            Ok((height, entries)) => {
                assert!(offset >= durable, "byte {offset} was made durable");
                assert!(height == 3 && entries.len() >= 2, "byte {offset}");
            }
            Err(error) => assert!(offset < HEADER_BYTES, "byte {offset}: {error}"),
        }
    }
}

#[test]
fn pages_lost_out_of_order_in_an_unsynced_tail_are_a_torn_tail() {
    // Power loss may keep a later page of an unsynced write and lose an earlier one.
    let (_parent, directory) = created();
    let (mut bytes, durable) = three_heights(&directory);
    let mark_end = durable + PREFIX_BYTES + 9;
    bytes[mark_end..mark_end + 20].fill(0);
    let (height, entries) = opened_with(&directory, &bytes).unwrap();
    assert_eq!((height, entries.len()), (3, 2));
}

#[test]
fn bytes_of_an_earlier_file_are_never_taken_for_records() {
    let (_parent, directory) = created();
    let (old, _) = three_heights(&directory);
    let (header, _) = new_header(&GENESIS, &SecretKey::from_seed(&SEED).public()).unwrap();
    let mut bytes = header.clone();
    bytes.extend_from_slice(&old[HEADER_BYTES..]);
    let (height, entries) = opened_with(&directory, &bytes).unwrap();
    assert_eq!((height, entries.len()), (0, 0));
}

#[test]
fn a_long_record_begins_a_new_file_at_the_next_height() {
    let (_parent, directory) = created();
    let mut record = open(&directory).record;
    record.reset(1).unwrap();
    let vote = SignedVote { signature: vec![7; 1 << 20], ..Default::default() };
    let big = WalEntry { height: 1, entry: Some(wal_entry::Entry::Vote(vote)) };
    for _ in 0..9 {
        record.append(&big).unwrap();
        record.sync().unwrap();
    }
    record.reset(2).unwrap();
    assert!(record.written < 1000);
    record.append(&entry(2, 0)).unwrap();
    record.sync().unwrap();
    drop(record);
    let opened = open(&directory);
    assert_eq!((opened.height, opened.entries), (2, vec![entry(2, 0)]));
}

#[test]
#[allow(clippy::print_stdout, reason = "a measurement is made to be read")]
fn appending_and_syncing_costs_one_sync_of_the_disk() {
    // On the build's disk rather than in /tmp, which may be memory.
    let parent = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let directory = parent.path().join("validator");
    SigningRecord::create(&directory, GENESIS, &SEED).unwrap();
    let mut record = open(&directory).record;
    record.reset(1).unwrap();
    let mut times: Vec<_> = (0..200)
        .map(|round| {
            let start = Instant::now();
            record.append(&entry(1, round)).unwrap();
            record.sync().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("append + sync: p50 {:?}, p99 {:?}", times[100], times[198]);
}

proptest! {
    // Each case syncs a disk many times.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever was done, a kill or a power loss at any byte after the last sync loses nothing that was synced.
    #[test]
    fn nothing_synced_is_ever_lost(
        steps in prop::collection::vec(0u8..4, 1..40),
        cut in 0.0f64..=1.0,
    ) {
        let (_parent, directory) = created();
        let mut record = open(&directory).record;
        let (mut height, mut round) = (0, 0);
        let mut all: Vec<WalEntry> = Vec::new();
        let mut synced = (0, 0);
        let mut durable = usize::try_from(record.written).unwrap();
        for step in steps {
            match step {
                0 => {
                    height += 1;
                    round = 0;
                    all.clear();
                    record.reset(height).unwrap();
                }
                1 | 2 if height > 0 => {
                    record.append(&entry(height, round)).unwrap();
                    all.push(entry(height, round));
                    round += 1;
                }
                _ => {
                    record.sync().unwrap();
                    synced = (height, all.len());
                    durable = usize::try_from(record.written).unwrap();
                }
            }
        }
        record.write_pending().unwrap();
        drop(record);
        let bytes = fs::read(directory.join(RECORD_FILE)).unwrap();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a fraction of a small length"
        )]
        let cut = durable + ((bytes.len() - durable) as f64 * cut) as usize;
        let (found_height, found) = opened_with(&directory, &bytes[..cut]).unwrap();
        prop_assert!((found_height, found.len()) >= synced);
        if found_height == height {
            prop_assert_eq!(&found[..], &all[..found.len()]);
        }
    }
}
