//! The protocols of clients: one room each, and each a pure state machine.

pub mod ferry;
