//! The limits that version 1 of the protocol fixes. Both sides enforce them, so none is an option.

/// The version of the protocol that the greeting names.
pub const PROTOCOL_VERSION: u32 = 1;

/// The port that both programs take when none is given.
pub const DEFAULT_PORT: u16 = 12000;

/// The longest line in bytes, its LF included: room for a name of [`MAX_NAME_BYTES`] with every
/// argument that may stand before it, and for a second name in `RENAME`.
pub const MAX_LINE_BYTES: usize = 4096;

/// The longest name in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// The most bytes that one `DATA` block carries: large enough that its header costs nothing, small
/// enough that a sender who fails inside a block pads it at once.
pub const MAX_BLOCK_BYTES: u64 = 1 << 20;

/// The fewest zeros that `HOLE` stands for: fewer cost little as bytes, and each hole is a call of the system.
pub const MIN_HOLE_BYTES: u64 = 64 << 10;

/// The largest integer on the wire, 2^63-1: what a signed file offset can hold.
pub const MAX_INTEGER: u64 = i64::MAX as u64;

/// The longest tag or resume id in bytes.
pub const MAX_TOKEN_BYTES: usize = 64;

/// The longest name of a user in bytes.
pub const MAX_USER_BYTES: usize = 64;

/// The longest secret in bytes: it fits a line beside the longest name of a user.
pub const MAX_SECRET_BYTES: usize = 4000;

/// The first letters, in any case, of the components of names that belong to the server.
pub const RESERVED_PREFIX: &str = ".ferry";
