//! Carries packets from one TUN device to another, each way by a thread of its own.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::setpriority_process,
};
use tappers::{Interface, Tun};

use super::emulator::{Counts, Direction};

/// The most that one packet carries, as on an Ethernet.
pub(super) const MTU: usize = 1500;

/// The most packets that wait in a device until they are looked at: at 1 Gbit/s, what comes in a quarter of a
/// second. A machine with other work may not look for that long, and only the line itself is to lose packets.
pub(super) const DEVICE_PACKETS: u32 = 20_000;

/// The most time between two looks while packets come; in it they are carried together.
const LONGEST_LOOK: Duration = Duration::from_micros(500);

/// Looks within the delay of a packet, at least: each adds no more than this part of it.
const LOOKS: u32 = 20;

/// Before all others: a line does not wait for a busy machine.
const PRIORITY: i32 = -20;

/// Makes a TUN device in the name space of the caller.
///
/// # Errors
///
/// Fails where the system has or permits none.
pub(super) fn device(name: &str) -> io::Result<Tun> {
    let mut device = Tun::new_named(Interface::new(name)?)?;
    device.set_nonblocking(true)?;
    Ok(device)
}

/// Counts that a thread keeps of its direction.
#[derive(Debug, Default)]
struct Told {
    carried: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    delivered: AtomicU64,
    /// Packets longer than [`MTU`].
    giant: AtomicU64,
}

/// Both directions of a line, carried until the process ends.
#[derive(Debug)]
pub(super) struct Carrier([Arc<Told>; 2]);

impl Carrier {
    /// Starts to carry packets: one direction from the first of `devices` to the second, the other back.
    ///
    /// # Errors
    ///
    /// Fails where a thread can't be started.
    pub(super) fn start(devices: [Tun; 2], directions: [Direction; 2], delay: Duration) -> io::Result<Carrier> {
        let told = [Arc::default(), Arc::default()];
        let devices = Arc::new(devices);
        for (index, direction) in directions.into_iter().enumerate() {
            let (devices, told) = (devices.clone(), Arc::clone(&told[index]));
            thread::Builder::new().name(format!("line {index}")).spawn(move || {
                // Where it is not permitted, the line is less exact on a busy machine.
                let _ = setpriority_process(None, PRIORITY);
                match carry(&devices[index], &devices[1 - index], direction, delay, &told) {
                    // The near end has gone: the work is over.
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::BADFD) => {}
                    Err(error) => eprintln!("the line is cut: {error}"),
                    Ok(never) => match never {},
                }
            })?;
        }
        Ok(Carrier(told))
    }

    /// Returns the packets of both directions so far.
    pub(super) fn counts(&self) -> [Counts; 2] {
        [0, 1].map(|index| {
            let told = &self.0[index];
            let [carried, lost, dropped] = [&told.carried, &told.lost, &told.dropped].map(|count| count.load(Relaxed));
            Counts { carried, lost, dropped }
        })
    }

    /// Returns the number of packets that were longer than the line permits.
    pub(super) fn giants(&self) -> u64 {
        self.0.iter().map(|told| told.giant.load(Relaxed)).sum()
    }

    /// Waits until nothing has been on the way for `quiet`.
    pub(super) fn settle(&self, quiet: Duration) {
        const PAUSE: Duration = Duration::from_millis(5);
        let state = || {
            let taken: u64 = self.0.iter().map(|told| told.carried.load(Relaxed)).sum();
            let delivered: u64 = self.0.iter().map(|told| told.delivered.load(Relaxed)).sum();
            (taken, delivered)
        };
        let (mut last, mut since) = (state(), Instant::now());
        while since.elapsed() < quiet {
            thread::sleep(PAUSE);
            let now = state();
            if now != last || now.0 != now.1 {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

/// Carries one direction.
fn carry(from: &Tun, to: &Tun, mut direction: Direction, delay: Duration, told: &Told) -> io::Result<Infallible> {
    let start = Instant::now();
    let between_looks = (delay / LOOKS).min(LONGEST_LOOK);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut looked = Duration::ZERO;
    loop {
        let asked = start.elapsed();
        let until = direction.next().map(|arrives| arrives.saturating_sub(asked));
        let timeout = until.map(|until| Timespec::try_from(until).map_err(io::Error::other)).transpose()?;
        match poll(&mut [PollFd::new(from, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = start.elapsed();
        // Packets that were there already came since the last look; one that was waited for came now.
        let since = if now - asked < between_looks { looked } else { now };
        loop {
            match from.recv(&mut buffer) {
                Ok(bytes) => {
                    if bytes > MTU {
                        told.giant.fetch_add(1, Relaxed);
                    }
                    direction.take(since, now, &buffer[..bytes]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        looked = now;
        let mut delivered = 0;
        direction.deliver(start.elapsed(), |packet| {
            // A device that takes none is one whose end has gone: a packet lost.
            let _ = to.send(packet);
            delivered += 1;
        });
        let Counts { carried, lost, dropped } = direction.counts();
        told.carried.store(carried, Relaxed);
        told.lost.store(lost, Relaxed);
        told.dropped.store(dropped, Relaxed);
        told.delivered.fetch_add(delivered, Relaxed);
        thread::sleep(between_looks);
    }
}
