//! The owners of resumable uploads.

use std::{fmt, sync::Arc};

/// The owner of a resumable upload, as far as quotas go: an opaque word, compared for equality
/// alone. It stands for a client's address, or for a user.
///
/// Nobody, the default, is shared by all unknown owners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Owner(Option<Arc<str>>);

/// The beginning of the word for a user.
const USER: &str = "user=";

/// The longest word.
const MAX_OWNER_BYTES: usize = 128;

impl Owner {
    /// All unknown owners.
    pub const NOBODY: Owner = Owner(None);

    /// Returns the owner of this name: 1 to 128 visible ASCII characters. [`None`] for any other.
    #[must_use]
    pub fn new(name: &str) -> Option<Owner> {
        let fits = (1..=MAX_OWNER_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Owner(Some(name.into())))
    }

    /// Returns the owner that a user is, whose uploads nobody else takes up. The name is visible ASCII.
    #[must_use]
    pub fn of_user(name: &str) -> Owner {
        Owner::new(&format!("{USER}{name}")).unwrap_or_default()
    }

    /// Returns whether `other` may not take up the uploads of this owner.
    #[must_use]
    pub fn excludes(&self, other: &Owner) -> bool {
        self.name().is_some_and(|name| name.starts_with(USER)) && self != other
    }

    /// Returns whether nothing is known of whose it is.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.0.is_none()
    }

    /// Returns its name; [`None`] for nobody.
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
