//! All clients, by token.

use mio::Token;
use slab::Slab;

use super::connection::Connection;

const KEY_BITS: u32 = 32;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;

/// Keys from this one on name no connection: the loop has tokens of its own.
const FIRST_RESERVED_KEY: usize = KEY_MASK - 15;

/// The key of all handshakes, which are no connections yet; what they differ in stands in place of
/// the generation.
const HANDSHAKE_KEY: usize = FIRST_RESERVED_KEY;

/// The key of all inquiries, with a number as handshakes have one.
const INQUIRY_KEY: usize = FIRST_RESERVED_KEY + 1;

/// Returns the token of the inquiry with this number.
pub(super) fn inquiry_token(number: u32) -> Token {
    Token((number as usize) << KEY_BITS | INQUIRY_KEY)
}

/// Returns the number of the inquiry with this token; [`None`] for any other token.
pub(super) fn inquiry_number(token: Token) -> Option<u32> {
    (token.0 & KEY_MASK == INQUIRY_KEY).then_some((token.0 >> KEY_BITS) as u32)
}

/// Returns the token of the handshake with this number, of which 32 bits count.
pub(super) fn handshake_token(number: u64) -> Token {
    Token((number as u32 as usize) << KEY_BITS | HANDSHAKE_KEY)
}

/// Returns the number, as far as it counts, of the handshake with this token; [`None`] for any other token.
pub(super) fn handshake_number(token: Token) -> Option<u32> {
    (token.0 & KEY_MASK == HANDSHAKE_KEY).then_some((token.0 >> KEY_BITS) as u32)
}

/// The connections of the loop.
///
/// A token is a slab key and a generation. Slab gives keys out again at once, generations tell who
/// had one before: an event or a completion for a connection that is gone finds nobody.
#[derive(Default)]
pub(super) struct Connections {
    slab: Slab<Connection>,
    generation: u32,
}

impl Connections {
    /// Returns the token of the connection that is [inserted](Self::insert) next.
    pub(super) fn next_token(&mut self) -> Token {
        self.generation = self.generation.wrapping_add(1);
        let key = self.slab.vacant_key();
        assert!(key < FIRST_RESERVED_KEY, "more connections than there are keys");
        Token((self.generation as usize) << KEY_BITS | key)
    }

    /// Adds a connection.
    ///
    /// # Panics
    ///
    /// Where it has not the [next token](Self::next_token).
    pub(super) fn insert(&mut self, connection: Connection) -> &mut Connection {
        let entry = self.slab.vacant_entry();
        assert_eq!(connection.token.0 & KEY_MASK, entry.key(), "a connection under another's key");
        entry.insert(connection)
    }

    /// Returns the connection of `token`; [`None`] where it is gone.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut Connection> {
        self.slab.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token)
    }

    /// Takes the connection of `token` out.
    pub(super) fn remove(&mut self, token: Token) -> Option<Connection> {
        self.get(token)?;
        self.slab.try_remove(token.0 & KEY_MASK)
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Returns the tokens of all.
    pub(super) fn tokens(&self) -> Vec<Token> {
        self.slab.iter().map(|(_, connection)| connection.token).collect()
    }

    /// Closes the sockets of all.
    pub(super) fn disconnect(&mut self) {
        for (_, connection) in &mut self.slab {
            connection.endpoint = None;
        }
    }
}
