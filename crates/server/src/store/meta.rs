//! What a file's status says on the wire.

use ferry_wire::{FileMeta, Tag, Time};
use rustix::fs::{FileType, Stat};

/// What kind of thing a status is of.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The size in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The time of the last change of content.
pub(super) fn mtime(stat: &Stat) -> Option<Time> {
    Time::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).ok()?)
}

/// Size, time and tag of a regular file.
pub(super) fn file_meta(stat: &Stat) -> FileMeta {
    FileMeta { size: size(stat), mtime: mtime(stat), tag: tag(stat) }
}

/// The tag of one version of a file: inode, size, time of change of content and of status. No two
/// versions share it on a file system whose clock ticks between them; and it is the same for
/// every server of that file system.
pub(super) fn tag(stat: &Stat) -> Tag {
    let nanos = |seconds: i64, nanos: u64| (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(nanos);
    let parts =
        [stat.st_ino, size(stat), nanos(stat.st_mtime, stat.st_mtime_nsec), nanos(stat.st_ctime, stat.st_ctime_nsec)];
    let mut text = String::with_capacity(64);
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            text.push('-');
        }
        push_base36(&mut text, part);
    }
    // Four numbers of at most 13 digits and three dashes: 55 characters of the alphabet of tags.
    Tag::new(&text).unwrap_or_else(|_| unreachable!("a tag of 1 to 55 letters, digits and dashes"))
}

fn push_base36(text: &mut String, mut number: u64) {
    let mut digits = [0u8; 13];
    let mut first = digits.len();
    loop {
        first -= 1;
        let digit = (number % 36) as u8;
        digits[first] = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        number /= 36;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().map(|&digit| char::from(digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base36_has_every_number_once() {
        let show = |number| {
            let mut text = String::new();
            push_base36(&mut text, number);
            text
        };
        assert_eq!((show(0), show(35), show(36)), ("0".into(), "z".into(), "10".into()));
        for number in [1, 37, 1 << 32, u64::MAX - 1, u64::MAX] {
            assert_eq!(u64::from_str_radix(&show(number), 36), Ok(number));
        }
    }
}
