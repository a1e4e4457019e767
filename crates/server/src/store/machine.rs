//! The identity of a machine and a process, as it stands in the lock of a process's directory.

use std::{fs, sync::LazyLock};

use ferry_wire::Crc32;

/// A process of a machine. A part that could not be found out is empty, and like nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of the machine's installation.
    machine: String,
    /// Of the run of its kernel.
    boot: String,
    /// Of the name space that the number of the process is of.
    processes: String,
    process: u32,
}

/// The text of a part of an identity that is not known.
const UNKNOWN: &str = "-";

static THIS: LazyLock<Identity> = LazyLock::new(|| {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let processes = fs::read_link("/proc/self/ns/pid").ok().and_then(|path| path.to_str().map(str::to_owned));
    let word = |text: Option<String>| {
        let is_word = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic()) && text != UNKNOWN;
        text.filter(is_word).unwrap_or_default()
    };
    Identity {
        machine: word(read("/etc/machine-id")),
        boot: word(read("/proc/sys/kernel/random/boot_id")),
        processes: word(processes),
        process: std::process::id(),
    }
});

impl Identity {
    /// Returns the identity of this process. It is read once: to be called before anything is
    /// closed to this process.
    pub(super) fn this() -> &'static Identity {
        &THIS
    }

    /// Returns the same process, if it were one of the machine `machine`.
    pub(super) fn on_machine(&self, machine: &str) -> Identity {
        Identity { machine: machine.into(), boot: machine.into(), ..self.clone() }
    }

    /// Returns whether it is certainly of another machine than `this`.
    pub(super) fn is_elsewhere(&self, this: &Identity) -> bool {
        let differ = |ours: &str, theirs: &str| !ours.is_empty() && !theirs.is_empty() && ours != theirs;
        // A process of the same kernel is on this machine, whatever its container says.
        let same_kernel = !self.boot.is_empty() && self.boot == this.boot;
        !same_kernel && differ(&this.machine, &self.machine)
    }

    /// Returns whether the process is `this` one.
    pub(super) fn is(&self, this: &Identity) -> bool {
        self == this && self.shares_processes(this)
    }

    /// Returns whether the process has certainly ended: it could be seen by `this` one if it
    /// had not.
    pub(super) fn has_ended(&self, this: &Identity) -> bool {
        let process = i32::try_from(self.process).ok().and_then(rustix::process::Pid::from_raw);
        self.shares_processes(this)
            && process
                .is_some_and(|process| rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH))
    }

    fn shares_processes(&self, this: &Identity) -> bool {
        !self.boot.is_empty()
            && !self.processes.is_empty()
            && (&self.boot, &self.processes) == (&this.boot, &this.processes)
    }

    pub(super) fn encode(&self) -> String {
        let [machine, boot, processes] = [&self.machine, &self.boot, &self.processes]
            .map(|word| if word.is_empty() { UNKNOWN } else { word.as_str() });
        let line = format!("ferry-run {machine} {boot} {processes} {}", self.process);
        format!("{} {line}\n", Crc32::of(line.as_bytes()))
    }

    /// Reads what [`encode`](Self::encode) has written; any other text, such as one torn by a power
    /// cut, names no machine.
    pub(super) fn decode(text: &str) -> Identity {
        Identity::whole(text).unwrap_or_default()
    }

    fn whole(text: &str) -> Option<Identity> {
        let (line, _) = text.split_once('\n')?;
        let (crc, line) = line.split_once(' ')?;
        if Crc32::parse(crc.as_bytes())? != Crc32::of(line.as_bytes()) {
            return None;
        }
        let mut words = line.strip_prefix("ferry-run ")?.split(' ');
        let mut word = || words.next().map(|word| if word == UNKNOWN { String::new() } else { word.to_owned() });
        Some(Identity { machine: word()?, boot: word()?, processes: word()?, process: word()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back() {
        let this = Identity::this();
        assert_eq!(Identity::decode(&this.encode()), *this);
        assert!(this.is(this) && !this.is_elsewhere(this) && !this.has_ended(this));
        let unknown = Identity::decode("");
        assert_eq!(unknown, Identity::default());
        assert_eq!(Identity::decode(&unknown.encode()), unknown);
        assert!(!unknown.is(this) && !unknown.is_elsewhere(this) && !unknown.has_ended(this));
        let whole = this.encode();
        for torn in 0..whole.len() {
            assert_eq!(Identity::decode(&whole[..torn]), unknown);
            assert_eq!(Identity::decode(&format!("{}{:\0>9}", &whole[..torn], "")), unknown);
        }
    }

    #[test]
    fn who_shares_the_kernel_is_no_other_machine() {
        let this = Identity { machine: "m".into(), boot: "b".into(), ..Identity::this().clone() };
        let container = Identity { machine: "c".into(), processes: "pid:[1]".into(), process: 1, ..this.clone() };
        assert!(!container.is_elsewhere(&this) && !container.has_ended(&this) && !container.is(&this));
        let rebooted = Identity { boot: "another".into(), ..this.clone() };
        assert!(!rebooted.is_elsewhere(&this));
        let other = this.on_machine("another");
        assert!(other.is_elsewhere(&this) && !other.has_ended(&this) && !other.is(&this));
        let unknown = Identity { machine: String::new(), boot: "another".into(), ..this.clone() };
        assert!(!unknown.is_elsewhere(&this));
    }

    #[test]
    fn a_process_that_was_waited_for_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = child.id();
        child.wait().unwrap();
        assert!(Identity { process, ..Identity::this().clone() }.has_ended(Identity::this()));
    }
}
