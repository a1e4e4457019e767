//! HTTP/1.1, by RFC 9110 and RFC 9112.

pub mod message;
pub mod page;
