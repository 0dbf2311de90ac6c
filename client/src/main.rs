//! sillok
fn main() {}
