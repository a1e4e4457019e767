//! HTTP beside ferry's own protocol: over real sockets, with clients of our own and with programs that everybody has.
// A helper of tests fails by panicking, at the line of the test that called it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod client;
mod life;
mod logins;
mod reading;
mod rude;
mod smuggling;
mod stock;
mod together;
mod tus;
mod writing;

use std::net::SocketAddr;

use ferry_e2e::{Options, Raw, Server};

use client::Http;

/// A server that speaks plainly, and HTTP at an address of its own.
fn plain() -> Options {
    Options::new().arg("--plain").arg("--http").arg("127.0.0.1:0")
}

/// The same, started, and a connection to it.
fn serving() -> (Server, Http) {
    let server = plain().start();
    let http = Http::plain(server.http().1);
    (server, http)
}

/// A client of ferry's own protocol, without TLS.
fn ferry(address: SocketAddr) -> Raw {
    let mut raw = Raw::connect_plain(address);
    assert!(raw.line().starts_with("FERRY 1 "), "a greeting");
    raw
}
