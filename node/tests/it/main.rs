//! The node's parts on real sockets and disks of one machine.

mod network;
