//! Options of stores for tests.

use std::{path::Path, time::Duration};

use super::{Durability, LeaseOptions, MountTable, StoreOptions};

/// Returns those of a store in `root` that takes whatever is sent, and keeps it.
pub(super) fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        root: root.into(),
        writable: true,
        durability: Durability::Full,
        max_staged: u64::MAX,
        max_kept: 10,
        keep: Duration::from_secs(3600),
        crc_cache: 16 << 20,
        small_cache: 16 << 20,
        mounts: MountTable::default(),
        leasing: LeaseOptions::default(),
    }
}
