//! Changes that people and programs make to trees.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ferry_e2e::Random;
use rustix::process::geteuid;

/// Few names, so that the same ones come again as something else.
const NAMES: [&str; 5] = ["a", "b", "c c", "ü", "-d"];

/// Mostly the usual, some larger than what is kept in parts (1 MiB), few than what is resumed upwards (8 MiB).
fn size(random: &mut Random) -> usize {
    let most = match random.below(60) {
        0 => 9 << 20,
        1..=3 => 3 << 20,
        4..=9 => 200_000,
        _ => 300,
    };
    let size = usize::try_from(random.below(most)).unwrap();
    if most > 8 << 20 { (8 << 20) + size / 9 } else { size }
}

pub(crate) fn pick(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap()
}

fn path(random: &mut Random) -> PathBuf {
    let depth = 1 + pick(random, 3);
    (0..depth).map(|_| NAMES[pick(random, NAMES.len())]).collect()
}

/// A tree that is edited; times are never used twice, unless that is the point.
pub(crate) struct Editor<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) clock: &'a mut u64,
    /// Where links lead.
    pub(crate) outside: &'a Path,
    pub(crate) links: bool,
    /// Whether files and directories have the same names, so that one is in the place of the other.
    pub(crate) kinds: bool,
}

impl Editor<'_> {
    /// Does some things to the tree at `root`; `other` is the one at the other end.
    pub(crate) fn edit(&mut self, root: &Path, other: &Path) {
        for _ in 0..self.random.below(12) {
            let what = self.random.below(20);
            let mut below = path(self.random);
            if !self.kinds && !matches!(what, 10..=14 | 19) {
                below.as_mut_os_string().push(".f");
            }
            let at = root.join(&below);
            match what {
                0..=9 => self.write(&at, root),
                10..=12 => clear(&at),
                13 | 14 => {
                    clear_files_above(&at, root);
                    if !at.exists() {
                        let _ = fs::create_dir_all(&at);
                    }
                }
                18 if self.kinds => {
                    let to = root.join(path(self.random));
                    if !is_behind_link(&at, root) && !is_behind_link(&to, root) {
                        let _ = fs::rename(&at, to);
                    }
                }
                15 | 18 => {
                    let mode = [0o600, 0o644, 0o755, 0o640, 0o700, 0o744][pick(self.random, 6)];
                    if at.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
                    }
                }
                19 => {
                    // The test itself could not change what is in the last two.
                    let kinds = if geteuid().is_root() { 5 } else { 3 };
                    let mode = [0o755, 0o700, 0o711, 0o555, 0o500][pick(self.random, kinds)];
                    if at.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
                    }
                }
                16 if self.links => self.link(&at, root),
                17 => self.collide(&at, &other.join(&below)),
                _ => {}
            }
        }
    }

    fn write(&mut self, at: &Path, root: &Path) {
        clear_files_above(at, root);
        if at.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
            clear(at);
        }
        let _ = fs::create_dir_all(at.parent().unwrap());
        let mut bytes = vec![0; size(self.random)];
        self.random.fill(&mut bytes);
        if bytes.len() > 150_000 && self.random.below(2) == 0 {
            self.write_sparse(at, bytes);
        } else {
            fs::write(at, bytes).unwrap();
        }
        let time = self.time();
        set_time(at, time);
    }

    /// Writes a file with a hole, at its beginning, its end or between.
    fn write_sparse(&mut self, at: &Path, mut bytes: Vec<u8>) {
        let end = pick(self.random, bytes.len());
        let hole = [0..end, end..bytes.len(), end / 2..end][pick(self.random, 3)].clone();
        bytes[hole.clone()].fill(0);
        fs::write(at, &bytes[..hole.start]).unwrap();
        let file = fs::File::options().write(true).open(at).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes[hole.end..], hole.end as u64).unwrap();
    }

    fn link(&mut self, at: &Path, root: &Path) {
        clear_files_above(at, root);
        clear(at);
        let _ = fs::create_dir_all(at.parent().unwrap());
        let to = match self.random.below(4) {
            0 => self.outside.join("file"),
            1 => PathBuf::from("nowhere"),
            2 => PathBuf::from("a"),
            _ => self.outside.to_owned(),
        };
        symlink(to, at).unwrap();
    }

    /// Two files of one size and of one second at the two ends, with other bytes. No system rounds their times to one.
    fn collide(&mut self, at: &Path, other: &Path) {
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        if !is_file(at) || !is_file(other) {
            return;
        }
        let mut bytes = vec![0; 1 + pick(self.random, 300)];
        let second = self.time().0;
        for (path, nanos) in [(at, 0), (other, 10_000_000 + u32::try_from(self.random.below(989_999_999)).unwrap())] {
            self.random.fill(&mut bytes);
            fs::write(path, &bytes).unwrap();
            set_time(path, (second, nanos));
        }
    }

    fn time(&mut self) -> (u64, u32) {
        *self.clock += 2;
        let nanos =
            if self.random.below(3) == 0 { 0 } else { u32::try_from(self.random.below(1_000_000_000)).unwrap() };
        (1_500_000_000 + *self.clock, nanos)
    }
}

fn set_time(at: &Path, (seconds, nanos): (u64, u32)) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    fs::File::options().write(true).open(at).unwrap().set_modified(time).unwrap();
}

/// Removes whatever is there.
pub(crate) fn clear(at: &Path) {
    match at.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(at).unwrap(),
        Ok(_) => fs::remove_file(at).unwrap(),
        Err(_) => {}
    }
}

/// Whether a link leads to it.
fn is_behind_link(at: &Path, root: &Path) -> bool {
    at.ancestors().skip(1).take_while(|above| *above != root).any(Path::is_symlink)
}

/// Removes what stands in the way of a directory above `at`.
fn clear_files_above(at: &Path, root: &Path) {
    for above in at.ancestors().skip(1).take_while(|above| *above != root) {
        if above.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            clear(above);
        }
    }
}
