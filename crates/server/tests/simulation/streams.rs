//! Fixed conversations about uploads whose size their end alone tells.

use std::time::Duration;

use ferry_wire::Crc32;

use crate::{
    desk::{Desk, Pace},
    dice::Dice,
    script::UPLOAD_BYTES,
};

#[test]
fn of_a_stream_the_client_is_told_what_is_kept() {
    let data = Dice::new(1).bytes(1_200_000);
    let (block, rest) = data.split_at(1 << 20);
    let kept = format!("KEPT {}\n", block.len());
    // Also where it does not read for a while. Then the newest is told.
    for reads in [true, false] {
        let mut desk = Desk::new(Pace::Now);
        desk.reads = reads;
        desk.give(b"RESUME i - - a\n");
        desk.give(format!("DATA {}\n", block.len()).as_bytes());
        desk.give(block);
        desk.reads = true;
        desk.settle();
        let output = String::from_utf8_lossy(&desk.output).into_owned();
        assert!(output.ends_with(&format!("GO 0 crc=00000000\n{kept}")), "{output}");
        desk.give(format!("DATA {}\n", rest.len()).as_bytes());
        desk.give(rest);
        desk.give(format!("END {}\n", Crc32::of(&data)).as_bytes());
        assert!(String::from_utf8_lossy(&desk.output).contains(&format!("{kept}SAVED 1200000 ")));
    }
    // Of several, that is: who does not read for a long time costs no memory.
    let mut desk = Desk::new(Pace::Now);
    desk.reads = false;
    desk.give(b"RESUME i - - a\n");
    for _ in 0..3 {
        desk.give(b"DATA 1000\n");
        desk.give(&data[..1000]);
        desk.now += Duration::from_secs(15);
        desk.give(b"HOLE 70000\n");
    }
    assert_eq!(desk.store.checkpoints, 3);
    desk.reads = true;
    desk.settle();
    let output = String::from_utf8_lossy(&desk.output).into_owned();
    assert!(output.ends_with(&format!("GO 0 crc=00000000\nKEPT {}\n", 3000 + 140_000)), "{output}");
    // An upload whose size is known is told nothing.
    let mut desk = Desk::new(Pace::Now);
    desk.give(format!("RESUME i {} - a\nDATA {}\n", data.len(), block.len()).as_bytes());
    desk.give(block);
    assert_eq!(desk.store.checkpoints, 1);
    assert!(String::from_utf8_lossy(&desk.output).ends_with("GO 0\n"));
}

#[test]
fn a_stream_is_dropped_where_its_client_gives_it_up_or_it_is_too_large() {
    let hole = format!("HOLE {UPLOAD_BYTES}\nEND -\n");
    for end in ["STOP\n", hole.as_str(), "END 00000000\n"] {
        let mut desk = Desk::new(Pace::Now);
        desk.give(b"RESUME i - - a\nDATA 3\nabc");
        desk.give(end.as_bytes());
        desk.output.clear();
        desk.give(b"RESUME i - - a\n");
        let output = String::from_utf8_lossy(&desk.output).into_owned();
        assert_eq!(output, "GO 0 crc=00000000\n", "after {end:?}");
    }
}

#[test]
fn who_waits_to_be_told_what_is_kept_is_not_slow() {
    let mut desk = Desk::new(Pace::Late);
    let data = Dice::new(1).bytes(1 << 20);
    desk.give(b"RESUME i - - a\n");
    desk.answer_all();
    desk.give(format!("DATA {}\n", data.len()).as_bytes());
    desk.give(&data);
    desk.answer_writes();
    assert!(desk.is_waiting(), "no checkpoint is made");
    let later = |desk: &mut Desk| {
        desk.now += Duration::from_secs(7200);
        desk.conn.session.handle_timeout(desk.now);
        desk.settle();
        String::from_utf8_lossy(&desk.output).into_owned()
    };
    // In the first of them it has sent something.
    for _ in 0..3 {
        let output = later(&mut desk);
        assert!(output.ends_with("GO 0 crc=00000000\n"), "{output}");
    }
    desk.answer_all();
    let output = later(&mut desk);
    assert!(output.contains("KEPT 1048576\nFAIL timeout "), "{output}");
}
