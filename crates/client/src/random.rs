//! Randomness of the system, for names that nobody else draws.

use std::io;

use crate::error::Error;

/// 64 random bits.
pub(crate) fn bits() -> Result<u64, Error> {
    getrandom::u64()
        .map_err(|error| Error::System { what: "draw a random number", source: io::Error::other(error.to_string()) })
}
