//! The bytes of a small file, or of a part of one.

use std::{fmt, ops::Deref, sync::Arc};

/// Bytes of a file, as the store gives them: where it has cached them, they are shared and not copied.
#[derive(Clone)]
pub enum FileBytes<'a> {
    /// Just read, into memory that is the store's.
    Read(&'a [u8]),
    /// To be kept for as long as they are of use.
    Shared(Arc<[u8]>),
}

impl FileBytes<'_> {
    /// Returns the same bytes, which outlive the store's memory.
    #[must_use]
    pub fn into_owned(self) -> FileBytes<'static> {
        match self {
            FileBytes::Read(bytes) => FileBytes::Shared(bytes.into()),
            FileBytes::Shared(bytes) => FileBytes::Shared(bytes),
        }
    }
}

impl Deref for FileBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Read(bytes) => bytes,
            FileBytes::Shared(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for FileBytes<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        FileBytes::Shared(bytes.into())
    }
}

impl fmt::Debug for FileBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBytes({})", self.len())
    }
}
