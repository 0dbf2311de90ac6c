//! What somebody serves is a list, a token or neither, and reading it never panics; so are paths and queries.
#![no_main]

use sillok_status_list::compress::{gunzip, unzlib};
use sillok_status_list::document::View;
use sillok_status_list::jws::Jws;
use sillok_status_list::request::{ListRequest, read, read_path};
use sillok_status_list::served::{Served, read_proof};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = (gunzip(bytes, 1 << 20), unzlib(bytes, 1 << 20));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for typ in ["statuslist+jwt", "vc+jwt"] {
        let _ = Jws::read(text, typ);
    }
    if let Ok(json) = serde_json::from_str(text) {
        for view in [View::Token, View::Revocation, View::Suspension] {
            let _ = Served::read(view, &json).map(|served| served.entry(7));
        }
        let _ = read_proof(&json);
    }
    if let Some(list) = read_path("/lists/", text) {
        let request = ListRequest { query: Some(text), accept: Some(text), ..Default::default() };
        let _ = read(list, true, &request);
    }
});
