//! The power-cut sweep of the store: the power fails behind each call that changes the disk, and what was
//! acknowledged is there afterwards.
//!
//! [`recorder`] writes down what a store asks the kernel for; [`model`] says what a disk may hold
//! when the power fails behind the nth of these calls, and why that is fair; [`script`] has the
//! workloads, and what their clients were told, those of HTTP by [`tus`]; [`worlds`] derives from that what clients may see
//! afterwards; and [`check`] opens a store on each such disk and looks.
//!
//! `FERRY_SWEEP=more` takes some more random workloads and disks, and `full` many more, `FERRY_SWEEP_SEED` others, and
//! `FERRY_SWEEP_DIR` chooses where the stores are made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod check;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other sweep uses the rest")]
mod common;
mod model;
mod recorder;
mod script;
mod sweep;
mod tus;
mod worlds;

use common::{dice::Dice, is_full, is_more, lack::Lack, none, seed, show};
use recorder::Lie;
use sweep::Figures;

/// Returns how many rounds a sweep takes, by its form.
fn rounds(full: usize, more: usize, small: usize) -> usize {
    match (is_full(), is_more()) {
        (true, _) => full,
        (false, true) => more,
        (false, false) => small,
    }
}

#[test]
fn a_cut_behind_any_call_of_the_workloads() {
    let mut figures = Figures::default();
    for (name, script) in script::workloads() {
        let before = figures.clone();
        sweep::one_life(name, &script, Lie::None, &mut Dice::new(seed()), &mut figures);
        show(format_args!("  {name:<32} {}", figures.since(&before)));
    }
    show(format_args!("power cuts: {figures}, seed {}", seed()));
    none(&figures.violations);
}

#[test]
fn a_cut_where_a_file_system_lacks_something() {
    let mut figures = Figures::default();
    for lack in Lack::ALL {
        for (name, script) in script::workloads() {
            let concerned = match lack {
                // What is resumed has other names there.
                Lack::Kind => name.starts_with("small puts") || name.contains("resum"),
                lack => lack.of_rename() && name == "renames",
            };
            if concerned || is_full() {
                let name = format!("{name}, lacking {lack:?}");
                sweep::lacking_life(&name, &script, lack, &mut Dice::new(seed()), &mut figures);
            }
        }
    }
    show(format_args!("power cuts where something is lacking: {figures}, seed {}", seed()));
    none(&figures.violations);
}

#[test]
fn a_cut_while_ids_give_way_to_others() {
    let mut figures = Figures::default();
    sweep::forgetful_life("ids that give way", &script::forgotten(), &mut Dice::new(seed()), &mut figures);
    show(format_args!("power cuts, ids that give way: {figures}, seed {}", seed()));
    none(&figures.violations);
}

#[test]
fn a_cut_behind_any_call_of_random_workloads() {
    let mut figures = Figures::default();
    for round in 0..rounds(300, 3, 1) {
        let mut dice = Dice::new(seed().wrapping_add(round as u64));
        let script = script::random(&mut dice, 6);
        sweep::one_life(&format!("random {round}"), &script, Lie::None, &mut dice, &mut figures);
    }
    show(format_args!("power cuts, random workloads: {figures}, seed {}", seed()));
    none(&figures.violations);
}

#[test]
fn a_cut_in_the_life_after_a_server_that_was_killed() {
    let mut figures = Figures::default();
    let rounds = rounds(usize::MAX, 5, 1);
    for (name, script) in script::workloads() {
        sweep::killed_at_some_calls(name, &script, rounds, &mut Dice::new(seed()), &mut figures);
    }
    show(format_args!("power cuts after kills: {figures}, seed {}", seed()));
    none(&figures.violations);
}

#[test]
fn a_cut_in_the_life_after_a_cut() {
    let mut figures = Figures::default();
    for round in 0..rounds(200, 3, 1) {
        let mut dice = Dice::new(seed().wrapping_add(1000 + round as u64));
        sweep::lives(&format!("lives {round}"), 3, &mut dice, &mut figures);
    }
    show(format_args!("power cuts after cuts: {figures}, seed {}", seed()));
    none(&figures.violations);
}

#[test]
fn a_disk_that_lies_about_its_fsyncs_is_found_out() {
    for lie in [Lie::Directories, Lie::Files, Lie::Data] {
        let mut figures = Figures::default();
        // One that shows it is enough.
        for (name, script) in script::workloads() {
            if !figures.violations.is_empty() {
                break;
            }
            sweep::one_life(name, &script, lie, &mut Dice::new(seed()), &mut figures);
        }
        show(format_args!("power cuts with a lie about {lie:?}: {figures}, as it must be"));
        assert!(!figures.violations.is_empty(), "the sweep does not see that {lie:?} are not synced");
    }
}
