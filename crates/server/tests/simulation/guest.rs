//! Whoever is at the other end of a connection: a client of ferry's protocol, or of HTTP.

use crate::{client::Client, store::Effect, tree::Tree, web::WebClient};

/// See the [module documentation](self).
pub(crate) enum Guest {
    Ferry(Box<Client>),
    Web(Box<WebClient>),
}

/// Evaluates a call, or reads a field, of whichever client it is.
macro_rules! each {
    ($self:expr, $client:ident => $call:expr) => {
        match $self {
            Guest::Ferry($client) => $call,
            Guest::Web($client) => $call,
        }
    };
}

impl Guest {
    pub(crate) fn speaks_http(&self) -> bool {
        matches!(self, Guest::Web(_))
    }

    /// Returns whether its connection may end within an answer, though it did all that it should.
    pub(crate) fn may_be_cut(&self) -> bool {
        match self {
            Guest::Ferry(client) => client.is_guilty(),
            Guest::Web(client) => client.is_guilty() || client.may_be_cut(),
        }
    }

    /// Its connection was cut by the server.
    pub(crate) fn was_cut(&mut self) {
        if let Guest::Web(client) = self {
            client.was_cut();
        }
    }

    pub(crate) fn home(&self) -> &str {
        each!(self, client => &client.ground.home)
    }

    pub(crate) fn is_guilty(&self) -> bool {
        each!(self, client => client.is_guilty())
    }

    pub(crate) fn finished(&self) -> bool {
        each!(self, client => client.finished)
    }

    pub(crate) fn requests(&self) -> u64 {
        each!(self, client => client.requests)
    }

    /// How often it was told how much is kept of a stream.
    pub(crate) fn kepts(&self) -> u64 {
        match self {
            Guest::Ferry(client) => client.oracle.kepts,
            Guest::Web(_) => 0,
        }
    }

    pub(crate) fn intended(&self) -> Vec<Effect> {
        each!(self, client => client.intended.clone())
    }

    /// The server was told to let it go.
    pub(crate) fn dismissed(&mut self) {
        each!(self, client => client.dismissed = true);
    }

    /// From here on, it can't know how things are.
    pub(crate) fn blind(&mut self) {
        each!(self, client => client.oracle.blind = true);
    }

    /// Asserts that there is what its answers made it expect.
    pub(crate) fn check_tree(&self, there: &Tree) {
        let (blind, tree) = each!(self, client => (client.oracle.blind, &client.oracle.tree));
        assert!(blind || there == tree, "another tree than {}: {there:?} for {tree:?}", self.home());
    }

    pub(crate) fn resets(&self) -> bool {
        each!(self, client => client.resets())
    }

    pub(crate) fn has_more(&self) -> bool {
        each!(self, client => client.has_more())
    }

    pub(crate) fn appetite(&self) -> usize {
        each!(self, client => client.appetite())
    }

    pub(crate) fn send(&mut self, room: usize) -> Vec<u8> {
        each!(self, client => client.send(room))
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        each!(self, client => client.take(bytes));
    }

    pub(crate) fn end_of_replies(&mut self) {
        each!(self, client => client.end_of_replies());
    }

    pub(crate) fn reconnect(&mut self, tree: Tree) {
        each!(self, client => client.reconnect(tree));
    }
}
