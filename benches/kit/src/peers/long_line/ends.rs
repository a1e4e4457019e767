//! The two ends of a line: network name spaces. This process and all servers are at the far end; programs that
//! are measured run at the near one.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    carrier::{Carrier, DEVICE_PACKETS, MTU, device},
    emulator::Direction,
    lines::LongLine,
};

/// The address of the far end. Nobody outside sees it.
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Programs that are needed to make both ends, and where Debian has them.
pub(super) const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux"), ("timeout", "coreutils")];

/// The exit status of `timeout` where the time was over; the second one where the program had to be killed.
const TIME_IS_OVER: [i32; 2] = [124, 137];

/// Both ends, joined. They end with this process's name space.
#[derive(Debug)]
pub(super) struct Ends {
    carrier: Carrier,
    line: LongLine,
    /// It does nothing but live at the near end, until its standard input ends.
    dweller: Child,
}

/// A program that came to its end in time.
pub(super) struct Ended {
    pub(super) seconds: f64,
    pub(super) output: Vec<u8>,
}

impl Ends {
    /// Makes this process's name space, which is to be its own and empty, the far end of `line`.
    ///
    /// # Errors
    ///
    /// Fails where the system permits it not, or has no such congestion control.
    pub(super) fn join(line: &LongLine) -> io::Result<Ends> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", "echo here && exec cat"]);
        let mut dweller = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = dweller.stdout.take().map(|out| BufReader::new(out).lines().next());
        said.flatten().transpose()?.ok_or_else(|| io::Error::other("no name space for the near end"))?;
        let devices = [device("near")?, device("far")?];
        let pid = dweller.id();
        let (queue, mtu) = (DEVICE_PACKETS, MTU);
        let congestion = &line.congestion;
        // Without saved metrics no program profits from what an earlier one found out about the line. The congestion
        // control is the route's: not every one may be the default of a name space.
        let common = |name: &str, own: Ipv4Addr, other: Ipv4Addr| {
            format!(
                "ip link set lo up && ip link set {name} mtu {mtu} txqueuelen {queue} up &&
                 ip address add {own} dev {name} && ip route add {other} dev {name} src {own} congctl {congestion} &&
                 echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save"
            )
        };
        let at_near = ["nsenter", &format!("--net=/proc/{pid}/ns/net"), "sh", "-c", &common("near", NEAR, FAR)];
        succeed(&["ip", "link", "set", "near", "netns", &pid.to_string()])?;
        succeed(&at_near)?;
        succeed(&["sh", "-c", &common("far", FAR, NEAR)])?;
        let directions = [0, 1].map(|index| Direction::new(line.properties(), line.seed.wrapping_add(index)));
        let carrier = Carrier::start(devices, directions, line.delay())?;
        Ok(Ends { carrier, line: line.clone(), dweller })
    }

    /// Runs `program` at the near end, once the line is quiet. Returns [`None`] where `limit` passes before its end.
    ///
    /// # Errors
    ///
    /// Fails with the program's own words where it did not succeed.
    pub(super) fn run(
        &self,
        program: &Path,
        arguments: &[String],
        home: &Path,
        limit: Duration,
    ) -> Result<Option<Ended>, String> {
        self.settle();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.dweller.id()));
        command.args(["timeout", "--kill-after=1", &limit.as_secs_f64().to_string()]).arg(program).args(arguments);
        // With an empty home there are no settings of a user.
        command.env("HOME", home).env("XDG_CONFIG_HOME", home).stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
        let seconds = start.elapsed().as_secs_f64();
        if output.status.success() {
            Ok(Some(Ended { seconds, output: output.stdout }))
        } else if output.status.code().is_some_and(|code| TIME_IS_OVER.contains(&code)) {
            Ok(None)
        } else {
            let [out, error] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
            Err(format!("{} ended with {}: {} {}", program.display(), output.status, error.trim(), out.trim()))
        }
    }

    /// Waits until nothing is on the way any more; what an earlier program left open may still be told so.
    pub(super) fn settle(&self) {
        const MORE: Duration = Duration::from_millis(50);
        self.carrier.settle(self.line.delay() * 2 + MORE);
    }

    /// Returns what was carried so far, in words.
    ///
    /// # Panics
    ///
    /// Panics where a packet was longer than the line permits: the line would have been another one.
    pub(super) fn carried(&self) -> String {
        assert_eq!(self.carrier.giants(), 0, "packets of more than {MTU} bytes");
        let [there, back] = self.carrier.counts().map(|counts| {
            let all = (counts.carried + counts.lost + counts.dropped).max(1);
            let share = |count: u64| 100.0 * count as f64 / all as f64;
            format!("{all} packets, {:.3} % lost, {:.3} % dropped", share(counts.lost), share(counts.dropped))
        });
        format!("to the server {there}; from it {back}")
    }
}

fn succeed(words: &[&str]) -> io::Result<()> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{} ended with {}: {}", words[0], output.status, said.trim())))
}

/// Returns the congestion controls that this system has.
pub(super) fn congestion_controls() -> Vec<String> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}
