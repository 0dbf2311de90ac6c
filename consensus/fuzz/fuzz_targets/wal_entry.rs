//! An entry of the signing record that decodes encodes to the bytes it was read from.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = sillok_consensus::decode_entry(bytes, 1 << 20) {
        assert_eq!(sillok_proto::encode(&entry), bytes);
    }
});
