//! A consensus message that decodes encodes to the bytes it was read from.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = sillok_consensus::decode_message(bytes, 1 << 20) {
        assert_eq!(sillok_proto::encode(&message), bytes);
    }
});
