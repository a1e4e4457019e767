//! What is spoken with clients: one room a protocol, each a pure state machine.

pub mod ferry;
