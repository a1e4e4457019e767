//! Translates a file's status to what the wire says.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ferry_wire::{Tag, Time};
use rustix::fs::{FileType, Stat};

use super::run::random;

/// Returns the type of file that a status is of.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns whether fewer blocks of the disk are the file's than it has bytes: it may have holes.
pub(super) fn is_sparse(stat: &Stat) -> bool {
    blocks_bytes(stat) < size(stat)
}

fn blocks_bytes(stat: &Stat) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
}

/// Returns the size in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Returns how much of the disk the file takes, in bytes: its blocks, set aside ones too. No less
/// than its size, since a file system may choose blocks only later.
pub(super) fn taken(stat: &Stat) -> u64 {
    blocks_bytes(stat).max(size(stat))
}

/// Returns whether much more of the disk is taken than the file holds: somebody set room aside.
pub(super) fn has_ahead(stat: &Stat) -> bool {
    /// More than file systems need to find the blocks of a file, and less than is worth setting aside.
    const MUCH_BYTES: u64 = 512 << 10;
    taken(stat) >= size(stat).saturating_add(MUCH_BYTES)
}

/// Returns when its status changed, which nobody can set: seconds and nanoseconds.
pub(super) fn touched(stat: &Stat) -> (i64, u64) {
    (stat.st_ctime, stat.st_ctime_nsec)
}

/// Returns the time of the last change of content.
pub(super) fn mtime(stat: &Stat) -> Option<Time> {
    Time::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).ok()?)
}

/// Returns whether a file of a file system that takes its times from this machine's clock, of which
/// `stat` was told later than `moment`, was the same already at that moment. False where it changed
/// so shortly before that the grain of the times could hide another change.
pub(super) fn unchanged_since(stat: &Stat, moment: SystemTime) -> bool {
    let grain = if keeps_fractions(stat) { GRAIN } else { COARSE_GRAIN };
    let nanos = u32::try_from(stat.st_ctime_nsec).unwrap_or_default();
    // Of the status: it moves with every change of content, and nobody can set it.
    let Ok(changed) = u64::try_from(stat.st_ctime).map(|seconds| Duration::new(seconds, nanos)) else { return false };
    let moment = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    changed.checked_add(grain).is_some_and(|settled| settled <= moment)
}

/// Returns whether somebody gave the file its time: the content did not change since, or the time would be later.
pub(super) fn has_given_time(stat: &Stat) -> bool {
    let grain = i64::try_from(COARSE_GRAIN.as_secs()).unwrap_or(i64::MAX);
    stat.st_mtime.saturating_add(grain) <= stat.st_ctime
}

/// Times with fractions have grains of some milliseconds at most, and lag no more behind the clock.
const GRAIN: Duration = Duration::from_secs(1);

/// Times without have grains of one second, or two on FAT.
const COARSE_GRAIN: Duration = Duration::from_secs(3);

/// Returns whether the time of a file's status shows that it may have any fraction of a second. A
/// time that is a whole second by chance only costs some care.
pub(super) fn keeps_fractions(stat: &Stat) -> bool {
    stat.st_ctime_nsec != 0
}

/// Returns the tag of one version of a file: inode, size, time of change of content and of status. No two
/// versions share it on a file system whose clock ticks between them; and it is the same for
/// every server of that file system. A tag that is not `lasting`, since the file can change again without its time
/// moving, is another one at each look: in it a number that is told once stands for the time of its status.
pub(super) fn tag(stat: &Stat, lasting: bool) -> Tag {
    let nanos = |seconds: i64, nanos: u64| (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(nanos);
    let changed = if lasting { nanos(stat.st_ctime, stat.st_ctime_nsec) } else { unique() };
    Tag::of_numbers([stat.st_ino, size(stat), nanos(stat.st_mtime, stat.st_mtime_nsec), changed])
}

/// Returns a number that no other call returns, of this process or of any other, and that is the beginning of no second.
fn unique() -> u64 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        // Odd, as no whole second is.
        AtomicU64::new(random().unwrap_or_else(|_| u64::from(now())) | 1)
    });
    NEXT.fetch_add(2, Ordering::Relaxed)
}

/// Returns whether `tag` tells of the file of `stat`, with the same content as far as size and time
/// tell. The time of the status, which a tag begins with, may have changed since.
pub(super) fn is_version(tag: &Tag, stat: &Stat) -> bool {
    let content = |tag: &Tag| tag.as_str().split_once('-').map(|(_, content)| content.to_owned());
    content(tag).is_some_and(|content_of_tag| Some(content_of_tag) == content(&self::tag(stat, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_earlier_than_the_last_change_was_given() {
        let mut stat = rustix::fs::fstat(std::fs::File::open("/").unwrap()).unwrap();
        stat.st_ctime = 1_700_000_000;
        for (mtime, expected) in [(0, true), (1_699_999_997, true), (1_699_999_998, false), (i64::MAX, false)] {
            stat.st_mtime = mtime;
            assert_eq!(has_given_time(&stat), expected, "{mtime}");
        }
    }

    #[test]
    fn what_changed_within_a_second_may_have_changed_again() {
        let mut stat = rustix::fs::fstat(std::fs::File::open("/").unwrap()).unwrap();
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        (stat.st_ctime, stat.st_ctime_nsec) = (1_700_000_000, 500_000_000);
        for (moment, expected) in [
            (at(1_700_000_001_500), true),
            (at(1_700_000_001_499), false),
            (at(1_700_000_000_000), false),
            (at(1_800_000_000_000), true),
        ] {
            assert_eq!(unchanged_since(&stat, moment), expected);
        }
        for before in [-1, i64::MIN] {
            stat.st_ctime = before;
            assert!(!unchanged_since(&stat, at(1_700_000_000_000)), "no time of ours");
        }
    }

    #[test]
    fn a_tag_tells_of_a_file_whatever_its_status_went_through() {
        let mut stat = rustix::fs::fstat(std::fs::File::open("/").unwrap()).unwrap();
        let before = tag(&stat, true);
        stat.st_ctime += 1;
        assert!(is_version(&before, &stat) && before != tag(&stat, true));
        stat.st_mtime_nsec ^= 1;
        assert!(!is_version(&before, &stat));
        stat.st_mtime_nsec ^= 1;
        stat.st_ino += 1;
        assert!(!is_version(&before, &stat));
    }

    #[test]
    fn a_tag_holds_its_four_numbers() {
        let mut stat = rustix::fs::fstat(std::fs::File::open("/").unwrap()).unwrap();
        let mut show = |ino, size, mtime, ctime| {
            (stat.st_ino, stat.st_size) = (ino, size);
            (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec) = (0, mtime, 0, ctime);
            tag(&stat, true).as_str().to_owned()
        };
        assert_eq!(show(0, 31, 32, 1), "1-10-v-0");
        let most = show(u64::MAX, i64::MAX, u64::MAX, u64::MAX);
        let numbers: Vec<_> = most.split('-').map(|number| u64::from_str_radix(number, 32)).collect();
        assert_eq!(numbers, [u64::MAX, u64::MAX, i64::MAX as u64, u64::MAX].map(Ok));
    }
}
