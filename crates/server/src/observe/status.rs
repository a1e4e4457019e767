//! Figures for `ferryd status`: a screen for people, and JSON for programs.

use std::{
    borrow::Cow,
    fmt::{Display, Write},
    time::Duration,
};

use ferry_wire::{Code, escaped};

use super::{
    counters::{ClientState, RefusedFor, VERBS},
    figures::{Family, Figures, Kind, LaneFigures, RootDown, Sample, Value},
    histogram::BOUNDS,
};
use crate::units::counted;

/// The number of users on the screen: those with the most bytes.
const SHOWN_USERS: usize = 10;

/// The number of parties on the screen, addresses and users: those with the most clients.
pub(crate) const SHOWN_PARTIES: usize = 5;

/// The prefix that all names have, and JSON leaves out.
const PREFIX: &str = "ferryd_";

/// Returns the figures as one JSON object in a line. Its keys are the names of the metrics without
/// their `ferryd_`, and a figure with labels is an object whose keys are the values of its labels.
pub(crate) fn json(figures: &Figures) -> String {
    let mut json = String::with_capacity(8 << 10);
    let mut before = '{';
    for Family { name, kind, samples, .. } in figures.families() {
        json.push(before);
        push_json_text(&mut json, name.strip_prefix(PREFIX).unwrap_or(name));
        json.push(':');
        match (kind, samples.as_slice()) {
            (Kind::Info, [(labels, _)]) => {
                push_info(&mut json, labels);
            }
            (_, [(labels, value)]) if labels.is_empty() => push_json_value(&mut json, value),
            (_, samples) => push_by_label(&mut json, samples, 0),
        }
        before = ',';
    }
    json.push_str("}\n");
    json
}

/// Appends an object of facts.
fn push_info(json: &mut String, labels: &[(&str, Cow<'_, str>)]) {
    let mut before = '{';
    for (label, text) in labels {
        json.push(before);
        push_json_text(json, label);
        json.push(':');
        push_json_text(json, text);
        before = ',';
    }
    json.push('}');
}

/// Appends an object whose keys are the values of the label at `depth`, of samples that are alike
/// in those before it.
fn push_by_label(json: &mut String, mut samples: &[Sample<'_>], depth: usize) {
    json.push('{');
    while let [(labels, value), ..] = samples {
        let key = labels.get(depth).map(|(_, text)| text);
        let alike = samples.iter().take_while(|(labels, _)| labels.get(depth).map(|(_, text)| text) == key).count();
        let (these, rest) = samples.split_at(alike);
        push_json_text(json, key.map_or("", Cow::as_ref));
        json.push(':');
        if labels.len() > depth + 1 {
            push_by_label(json, these, depth + 1);
        } else {
            push_json_value(json, value);
        }
        samples = rest;
        if !samples.is_empty() {
            json.push(',');
        }
    }
    json.push('}');
}

fn push_json_value(json: &mut String, value: &Value) {
    // Writing to a String can't fail.
    let _ = match value {
        Value::Count(count) => write!(json, "{count}"),
        Value::Unlimited => write!(json, "null"),
        Value::Seconds(time) => write!(json, "{}", time.as_secs_f64()),
        Value::Histogram(histogram) => {
            let (up_to, all) = histogram.up_to();
            json.push_str("{\"buckets\":{");
            for (bound, count) in BOUNDS.iter().zip(up_to) {
                let _ = write!(json, "\"{}\":{count},", bound.as_secs_f64());
            }
            write!(json, "\"+Inf\":{all}}},\"sum\":{},\"count\":{all}}}", histogram.sum().as_secs_f64())
        }
    };
}

fn push_json_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if u32::from(control) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

/// Returns the figures as a screen for people. `busiest` are the parties with most clients, of `parties` in all.
pub(crate) fn screen(figures: &Figures, busiest: &[(String, usize)], parties: usize) -> String {
    let mut screen = Screen(String::new());
    let state = if figures.is_draining { "ending" } else { "serving" };
    let node = figures.node.as_deref().map(|node| format!(", node {node}")).unwrap_or_default();
    screen.line("ferryd", format_args!("{}{node}, {state} for {}", figures.version, Age(figures.uptime)));
    match &figures.root_down {
        None => screen.line("root", "up"),
        Some(RootDown { time, why }) => screen.line("root", format_args!("down for {}: {why}", Age(*time))),
    }
    add_clients(&mut screen, figures);
    add_parties(&mut screen, busiest, parties);
    add_transfers(&mut screen, figures);
    add_store(&mut screen, figures);
    add_loop(&mut screen, figures);
    add_users(&mut screen, figures);
    screen.0
}

/// Lines with a heading each, aligned.
struct Screen(String);

impl Screen {
    fn line(&mut self, heading: &str, text: impl Display) {
        let _ = writeln!(self.0, "{heading:<12}{text}");
    }
}

fn add_clients(screen: &mut Screen, figures: &Figures) {
    let counters = &figures.counters;
    let count = |state: ClientState| counters.clients[state as usize];
    let [idle, request, download] = [ClientState::Idle, ClientState::Request, ClientState::Download].map(count);
    let [upload, rate, refused] = [ClientState::Upload, ClientState::Rate, ClientState::Refused].map(count);
    let clients = counters.clients.iter().sum::<u64>() - refused;
    let handshakes = figures.handshakes;
    screen.line(
        "clients",
        format_args!("{clients} of {}; {handshakes} in a handshake, {refused} being turned away", figures.max_clients),
    );
    screen.line(
        "",
        format_args!(
            "{idle} idle, {request} asking, {download} downloading, {upload} uploading, {rate} waiting for a rate"
        ),
    );
    let reasons = named_counts(RefusedFor::NAMES.into_iter().zip(counters.refused));
    let all: u64 = counters.refused.iter().sum();
    screen.line("connections", format_args!("{} served, {all} refused{reasons}", counters.connected));
    let [right, wrong, busy] = counters.logins;
    screen.line(
        "logins",
        format_args!("{right} right, {wrong} wrong, {busy} turned away; {} wait", figures.waiting_logins),
    );
}

fn add_parties(screen: &mut Screen, busiest: &[(String, usize)], parties: usize) {
    if busiest.is_empty() {
        return;
    }
    let shown: Vec<_> = busiest.iter().map(|(party, clients)| format!("{party} ({clients})")).collect();
    let rest = parties.saturating_sub(shown.len());
    let more = if rest > 0 { format!(", and {rest} more") } else { String::new() };
    screen.line("from", format_args!("{}{more}", shown.join(", ")));
}

fn add_transfers(screen: &mut Screen, figures: &Figures) {
    let counters = &figures.counters;
    screen.line("traffic", format_args!("{} in, {} out", Size(counters.received), Size(counters.sent)));
    let (received, sent) = (Size(figures.round.recent_received), Size(figures.round.recent_sent));
    screen.line("", format_args!("{received}/s in, {sent}/s out in the last minute"));
    screen.line(
        "under way",
        format_args!("{}, {}", counted(counters.downloads, "download"), counted(counters.uploads, "upload")),
    );
    for (verb, sums) in VERBS.into_iter().chain(["other"]).zip(&counters.verbs) {
        if sums.done + sums.failed == 0 {
            continue;
        }
        let bytes = if sums.bytes > 0 { format!(" ({})", Size(sums.bytes)) } else { String::new() };
        screen.line(&format!("  {verb}"), format_args!("{} done{bytes}, {} failed", sums.done, sums.failed));
    }
    let codes = Code::ALL.iter().chain([&Code::Unknown]).map(|code| code.as_str());
    let codes = named_counts(codes.zip(counters.codes));
    screen.line("failures", format_args!("{}{codes}", counters.codes.iter().sum::<u64>()));
    screen.line(
        "rates",
        format_args!("{}, {} in all", counted(counters.rate_waits, "wait"), Seconds(counters.rate_waited)),
    );
}

fn add_store(screen: &mut Screen, figures: &Figures) {
    let staged = &figures.staged;
    let limit = staged.max_bytes.map(|bytes| format!(" of {}", Size(bytes))).unwrap_or_default();
    let (plain, kept) = (Size(staged.plain_bytes), Size(staged.kept_bytes));
    screen.line(
        "uploads",
        format_args!("{plain} staged and {kept} kept{limit}; {} of {} ids", staged.kept_uploads, staged.max_kept),
    );
    let contents = &figures.contents;
    screen.line(
        "small files",
        format_args!("{} cached, {} read; {} of memory", contents.hits, contents.misses, Size(contents.bytes)),
    );
    let crcs = &figures.crcs;
    let wrong = if crcs.mismatches > 0 { format!(", {} found wrong", crcs.mismatches) } else { String::new() };
    screen.line(
        "CRCs",
        format_args!(
            "of {} remembered, of {} read{wrong}; {} of memory",
            Size(crcs.hit_bytes),
            Size(crcs.missed_bytes),
            Size(crcs.bytes)
        ),
    );
    for LaneFigures { name, waiting, helpers, busy, written_off, expired, tasks } in &figures.lanes {
        let (_, count) = tasks.up_to();
        let mean = tasks.sum().checked_div(u32::try_from(count).unwrap_or(u32::MAX)).unwrap_or_default();
        let lost = if *written_off > 0 { format!(", {written_off} stuck") } else { String::new() };
        let unanswered = match *expired {
            0 => String::new(),
            expired => format!(", {} not answered", counted(expired, "operation")),
        };
        screen.line(
            &format!("  {name}"),
            format_args!(
                "{waiting} waiting, {busy} of {helpers} helpers busy{lost}{unanswered}; {} of {} each",
                counted(count, "task"),
                Seconds(mean)
            ),
        );
    }
}

fn add_loop(screen: &mut Screen, figures: &Figures) {
    let round = &figures.round;
    let (recent, longest) = (Seconds(round.recent_longest_round), Seconds(round.longest_round));
    screen.line("loop", format_args!("away for {recent} at most in the last minute, {longest} since the start"));
    let share = 100.0 * round.busy.as_secs_f64() / figures.uptime.as_secs_f64().max(f64::MIN_POSITIVE);
    screen.line("", format_args!("{}, busy for {share:.1} % of the time", counted(round.rounds, "round")));
    let counters = &figures.counters;
    screen.line("reloads", format_args!("{} done, {} failed", counters.reloads, counters.failed_reloads));
    screen.line("log", format_args!("{} lost", counted(figures.lost_log_lines, "line")));
}

fn add_users(screen: &mut Screen, figures: &Figures) {
    let mut users = figures.users();
    users.retain(|(_, sums)| sums.transfers > 0);
    users.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.downloaded.saturating_add(sums.uploaded)));
    for (index, (user, sums)) in users.iter().take(SHOWN_USERS).enumerate() {
        let heading = if index == 0 { "users" } else { "" };
        let (down, up) = (Size(sums.downloaded), Size(sums.uploaded));
        let transfers = counted(sums.transfers, "transfer");
        let text = format!("{} {down} down, {up} up, {transfers}, {} failed", escaped(user), sums.failed);
        screen.line(heading, text);
    }
    if let Some(more) = users.len().checked_sub(SHOWN_USERS).filter(|more| *more > 0) {
        screen.line("", format_args!("and {more} more"));
    }
}

/// Returns those counts that are not 0, in words, behind a colon.
fn named_counts<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let words =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
    let words = words.collect::<Vec<_>>().join(", ");
    if words.is_empty() { words } else { format!(": {words}") }
}

/// Bytes, as a person reads them.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // A value that would be shown as 1024.0 is 1.0 of the next unit.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            (value, unit) = (value / 1024.0, unit + 1);
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// A duration that is short more often than not.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs_f64() {
            0.0 => f.write_str("0 s"),
            seconds if seconds < 0.001 => write!(f, "{:.0} us", seconds * 1e6),
            seconds if seconds < 1.0 => write!(f, "{:.1} ms", seconds * 1e3),
            seconds => write!(f, "{seconds:.1} s"),
        }
    }
}

/// A duration of days, or less.
struct Age(Duration);

impl Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {} s", seconds % 60),
            (0, ..) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_for_people() {
        let busiest = [("192.0.2.7".to_owned(), 5), ("user alice".to_owned(), 2)];
        let screen = screen(&Figures::of_a_test(), &busiest, 3);
        let expected = "\
ferryd      1.2.3, serving for 1 d 2 h
root        up
clients     8 of 100; 2 in a handshake, 1 being turned away
            8 idle, 0 asking, 0 downloading, 0 uploading, 0 waiting for a rate
connections 12 served, 1 refused: 1 server full
logins      0 right, 0 wrong, 0 turned away; 0 wait
from        192.0.2.7 (5), user alice (2), and 1 more
traffic     123 B in, 4.0 GiB out
            512 B/s in, 3.0 MiB/s out in the last minute
under way   0 downloads, 0 uploads
  GET       1 done (3.0 MiB), 2 failed
  PUT       1 done (4.9 KiB), 0 failed
failures    2: 1 not-found, 1 busy
rates       0 waits, 0 s in all
uploads     4.0 KiB staged and 0 B kept; 0 of 10000 ids
small files 7 cached, 2 read; 5.0 MiB of memory
CRCs        of 3.0 MiB remembered, of 1.0 MiB read; 600 B of memory
  read      3 waiting, 4 of 5 helpers busy, 1 stuck, 2 operations not answered; 4 tasks of 5.0 s each
loop        away for 250 us at most in the last minute, 12.0 ms since the start
            7 rounds, busy for 1.0 % of the time
reloads     0 done, 0 failed
log         0 lines lost
users       (anonymous) 3.0 MiB down, 0 B up, 1 transfer, 0 failed
            alice 100 B down, 4.9 KiB up, 3 transfers, 2 failed
";
        assert_eq!(screen, expected);
        let root_down = Some(RootDown { time: Duration::from_secs(61), why: "the server's disk failed".into() });
        let screen = super::screen(&Figures { root_down, ..Figures::of_a_test() }, &[], 0);
        assert_eq!(screen.lines().nth(1), Some("root        down for 1 min 1 s: the server's disk failed"));
    }

    #[test]
    fn json_for_programs() {
        let json = json(&Figures::of_a_test());
        assert!(
            json.starts_with("{\"build_info\":{\"version\":\"1.2.3\"},\"start_time_seconds\":1700000000,"),
            "{json}"
        );
        for part in [
            "\"clients\":{\"idle\":8,\"request\":0,",
            "\"transfers_total\":{\"GET\":{\"ok\":1,\"failed\":2},\"READ\":{\"ok\":0,\"failed\":0},",
            "\"failures_total\":{\"not-found\":1,\"exists\":0,",
            "\"staged_limit_bytes\":null,",
            "\"user_transfers_total\":{\"alice\":3,\"(anonymous)\":1,\"(others)\":0},",
            "\"helper_task_seconds\":{\"read\":{\"buckets\":{\"0.0001\":0,\"0.001\":1,\"0.01\":2,\"0.1\":3,\"1\":3,\"10\":3,\
             \"+Inf\":4},\"sum\":20.056,\"count\":4}},",
            "\"loop_recent_longest_round_seconds\":0.00025}\n",
        ] {
            assert!(json.contains(part), "{part} is missing in\n{json}");
        }
        let count = |character| json.matches(character).count();
        assert_eq!(count('{'), count('}'));
    }

    #[test]
    fn sizes_and_times_have_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        for (seconds, text) in
            [(59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h"), (8_640_000, "100 d 0 h")]
        {
            assert_eq!(Age(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
