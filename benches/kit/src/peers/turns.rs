//! Ferry and its peers take turns, and a line comes of each peer.

use crate::{Goal, Report, Row, Sample, Unit};

/// Somebody else at the same work.
pub(super) struct Peer<'a> {
    /// Its name in the report.
    is: String,
    goals: Vec<Goal>,
    turn: Box<dyn FnMut() -> Result<Sample, String> + 'a>,
}

impl<'a> Peer<'a> {
    /// `turn` gives why it failed, where it does: it then takes no more turns.
    pub(super) fn new<E: ToString>(
        is: impl Into<String>,
        goals: &[Goal],
        mut turn: impl FnMut() -> Result<Sample, E> + 'a,
    ) -> Peer<'a> {
        let turn = Box::new(move || turn().map_err(|error| error.to_string()));
        Peer { is: is.into(), goals: goals.to_vec(), turn }
    }
}

/// Lets ferry and `peers` take turns at `work`, A B C A B C, after a round that is not counted. Reports ferry
/// alone with `goals`, then ferry beside each peer. A peer that fails is reported as such; ferry
/// may not fail, but it may be that it has no such command.
pub(super) fn compete<'a>(
    report: &mut Report,
    rounds: usize,
    work: &str,
    unit: Unit,
    goals: &[Goal],
    mut ours: Option<&mut dyn FnMut() -> Sample>,
    mut peers: Vec<Peer<'a>>,
) {
    let mut own = Vec::new();
    let mut theirs = vec![Ok(Vec::new()); peers.len()];
    for round in 0..=rounds {
        let sample = ours.as_mut().map(|ours| ours());
        if round > 0 {
            own.extend(sample);
        }
        for (peer, samples) in peers.iter_mut().zip(&mut theirs) {
            let Ok(so_far) = samples else { continue };
            match (peer.turn)() {
                Ok(sample) if round > 0 => so_far.push(sample),
                Ok(_) => {}
                Err(why) => *samples = Err(why),
            }
        }
    }
    let row = Row { ours: own, ..Row::new(work, unit) };
    if ours.is_some() {
        report.row(Row { goals: goals.to_vec(), ..row.clone() });
    } else {
        report.skip(&format!("{work}: ferry"), "this ferry has no such command yet");
    }
    for (Peer { is, goals, .. }, samples) in peers.into_iter().zip(theirs) {
        match samples {
            Ok(limit) => report.row(Row { limit, limit_is: is, goals, ..row.clone() }),
            Err(why) => report.skip(&format!("{work}: {is}"), &why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn all_take_turns_and_who_fails_takes_no_more() {
        let log = RefCell::new(String::new());
        let turn = |name: char| {
            log.borrow_mut().push(name);
            Sample::plain(log.borrow().len() as f64)
        };
        let mut report = Report::new("peers", false);
        let peers = vec![
            Peer::new("b", &[], || Ok::<_, String>(turn('b'))),
            Peer::new("c", &[], || {
                turn('c');
                if log.borrow().len() > 4 { Err("it is tired") } else { Ok(Sample::plain(1.0)) }
            }),
        ];
        compete(&mut report, 2, "work", Unit::Share, &[Goal::AtLeast(1.0)], Some(&mut || turn('a')), peers);
        assert_eq!(*log.borrow(), "abcabcab");
        let rows = report.rows();
        assert_eq!(rows.len(), 2, "ferry alone, and beside b");
        assert_eq!((rows[0].goals.len(), rows[0].limit.len()), (1, 0));
        assert_eq!(rows[1].ours, [4.0, 7.0].map(Sample::plain));
        assert_eq!(rows[1].limit, [5.0, 8.0].map(Sample::plain));
    }
}
