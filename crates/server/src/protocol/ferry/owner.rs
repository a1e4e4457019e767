//! The owners among whom quotas share things out.

use std::{fmt, sync::Arc};

/// The owner of a resumable upload, as far as quotas go: an opaque word, compared for equality alone. Today it stands
/// for a client's address.
///
/// Nobody's, the default, is shared by all of whom nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Owner(Option<Arc<str>>);

/// The longest word.
const MAX_OWNER_BYTES: usize = 128;

impl Owner {
    /// An owner of this name: 1 to 128 visible ASCII characters. [`None`] for any other.
    #[must_use]
    pub fn new(name: &str) -> Option<Owner> {
        let fits = (1..=MAX_OWNER_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Owner(Some(name.into())))
    }

    /// Whether nothing is known of whose it is.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.0.is_none()
    }

    /// Its name; [`None`] for nobody.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("nobody"))
    }
}
