//! Free loopback ports for the nodes.
//!
//! They are taken from below the range out of which the system draws ports for outgoing connections: otherwise the port
//! of a node that was killed could be somebody's other end when it is started again.

use anyhow::bail;
use std::net::{Ipv4Addr, TcpListener};

/// The lowest port handed out.
const LOWEST: u16 = 10_240;
/// Where outgoing ports begin when the system does not say (Linux's default).
const OUTGOING_DEFAULT: u16 = 32_768;

fn lowest_outgoing() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(OUTGOING_DEFAULT)
}

/// Finds `count` ports on 127.0.0.1 that nobody listens on now.
///
/// # Errors
///
/// There are not that many.
pub fn find_free(count: usize) -> anyhow::Result<Vec<u16>> {
    Ok(hold_free(count)?.into_iter().map(|(port, _)| port).collect())
}

/// The same, with what holds each of them: until all are found, so that none is found twice.
fn hold_free(count: usize) -> anyhow::Result<Vec<(u16, TcpListener)>> {
    // A machine that hands out low ports too leaves us those from LOWEST on all the same.
    let end = match lowest_outgoing() {
        low if low > LOWEST + 1_000 => low,
        _ => OUTGOING_DEFAULT,
    };
    // Devnets that start at the same moment should not try the same ports in the same order.
    let start: u16 = rand::random_range(LOWEST..end);
    let mut held = Vec::with_capacity(count);
    for port in (start..end).chain(LOWEST..start) {
        if held.len() == count {
            break;
        }
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    if held.len() < count {
        bail!(
            "only {} of {count} ports on 127.0.0.1 are free; stop what listens there",
            held.len()
        );
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Of ports let go nothing can be said: somebody else may have taken them by now. So they are looked at while held.
    #[test]
    fn ports_are_distinct_free_and_out_of_the_outgoing_range() {
        let held = hold_free(40).unwrap();
        assert_eq!(held.iter().map(|(port, _)| port).collect::<BTreeSet<_>>().len(), 40);
        for (port, listener) in &held {
            assert!(*port < OUTGOING_DEFAULT.max(lowest_outgoing()));
            // Nobody else listened there, or it would not be ours; and it is this very port.
            assert_eq!(listener.local_addr().unwrap(), (Ipv4Addr::LOCALHOST, *port).into());
        }
        let ports = find_free(40).unwrap();
        assert!(ports.iter().all(|port| held.iter().all(|(taken, _)| taken != port)));
    }
}
