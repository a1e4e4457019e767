//! Why a server does not start, by kind.

use std::fmt;

/// The part of the setup that stands in the way of a start. Each has an exit status of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Anything that is none of the others.
    Other,
    /// A value in `ferryd.toml` or in the environment, the users file, or the certificate and its key.
    Configuration,
    /// The address.
    Address,
    /// The directory that is served.
    Root,
    /// A file or directory for the server itself: of logs, its key, or its control socket.
    Own,
    /// A limit that the system sets for this process.
    Limits,
}

impl Obstacle {
    /// Returns the exit status.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Obstacle::Other => 1,
            Obstacle::Configuration => 4,
            Obstacle::Address => 5,
            Obstacle::Root => 6,
            Obstacle::Own => 7,
            Obstacle::Limits => 8,
        }
    }
}

/// Why a server does not start: one line for the user who started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// Its kind.
    pub obstacle: Obstacle,
    text: String,
}

impl StartError {
    /// Returns an error in the words of `why`.
    pub fn new(obstacle: Obstacle, why: impl fmt::Display) -> StartError {
        StartError { obstacle, text: why.to_string() }
    }

    /// Returns a function that makes an error of this kind of another one.
    pub fn of<E: fmt::Display>(obstacle: Obstacle) -> impl FnOnce(E) -> StartError {
        move |why| StartError::new(obstacle, why)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StartError {}

macro_rules! of_kind {
    ($($error:ty),*) => {$(
        impl From<$error> for StartError {
            fn from(error: $error) -> StartError {
                StartError::new(Obstacle::Other, error)
            }
        }
    )*};
}

of_kind!(std::io::Error, String);
