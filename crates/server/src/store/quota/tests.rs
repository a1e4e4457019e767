use proptest::prelude::*;

use super::*;

const NOBODY: &Owner = &Owner::NOBODY;
const PLAIN: Whose<'static> = Whose::Plain(NOBODY);

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

fn resting(id: &str, bytes: u64, touched: i64) -> Resting {
    Resting { id: id.into(), bytes, touched: (touched, 0) }
}

#[test]
fn what_another_process_kept_counts_no_less_than_nothing() {
    let quota = Quota::new(100, 2);
    assert!(quota.admit("a", &owner("x")).is_ok() && quota.take(Whose::Kept("a"), 40).is_ok());
    // Begun at another process since this one looked, and ended here.
    quota.give_back(Whose::Kept("a"), 100);
    quota.give_back(Whose::Kept("b"), 100);
    assert!(quota.take(PLAIN, 100).is_ok() && quota.take(PLAIN, 1).is_err());
    quota.give_back(PLAIN, 100);
    assert!(quota.take(Whose::Kept("a"), 100).is_ok() && quota.take(PLAIN, 1).is_err());
    quota.forget("a");
    assert!(quota.take(PLAIN, 100).is_ok());
    assert!(
        quota.admit("a", &owner("x")).is_ok()
            && quota.admit("b", &owner("x")).is_ok()
            && quota.admit("c", &owner("x")).is_err()
    );
}

#[test]
fn a_look_at_the_disk_is_the_truth_about_what_rests() {
    let quota = Quota::new(100, 2);
    assert!(
        quota.admit("a", &owner("x")).is_ok()
            && quota.take(Whose::Kept("a"), 80).is_ok()
            && quota.take(PLAIN, 20).is_ok()
    );
    quota.rest(&resting("a", 80, 1));
    quota.begin_look().end(vec![resting("a", 10, 1), resting("b", 0, 2)]);
    assert!(quota.take(Whose::Kept("b"), 70).is_ok() && quota.take(Whose::Kept("b"), 1).is_err());
    assert!(quota.admit("c", &owner("x")).is_err());
    quota.begin_look().end(Vec::new());
    assert!(
        quota.admit("c", &owner("x")).is_ok()
            && quota.admit("d", &owner("x")).is_ok()
            && quota.admit("e", &owner("x")).is_err()
    );
}

#[test]
fn what_is_worked_on_counts_as_it_is_known_here() {
    let quota = Quota::new(100, 3);
    quota.hold("a", &owner("x"), 60);
    assert!(quota.admit("b", &owner("x")).is_ok(), "its journal is not there yet");
    // The disk has not got all of it yet.
    quota.begin_look().end(vec![resting("a", 10, 1)]);
    assert!(quota.take(PLAIN, 40).is_ok() && quota.take(PLAIN, 1).is_err());
    quota.rest(&resting("a", 10, 1));
    assert!(quota.take(PLAIN, 50).is_ok() && quota.take(PLAIN, 1).is_err());
    assert!(quota.admit("c", &owner("x")).is_ok() && quota.admit("d", &owner("x")).is_err());
}

#[test]
fn who_has_most_gives_way_to_who_has_fewer() {
    let quota = Quota::new(100, 5);
    for (id, whose, bytes, touched) in
        [("a", "x", 5, 1), ("b", "x", 1, 3), ("c", "x", 1, 2), ("d", "y", 1, 1), ("e", "x", 0, 9)]
    {
        assert!(quota.admit(id, &owner(whose)).is_ok());
        quota.rest(&resting(id, bytes, touched));
    }
    quota.hold("e", &owner("x"), 0);
    assert!(quota.admit("f", &owner("z")).is_err());
    assert_eq!(quota.yielding(&owner("z"), 9), ["c", "b", "a"], "the smallest, then the oldest, and none that is held");
    assert_eq!(quota.yielding(&owner("y"), 1), ["c"]);
    assert!(quota.yielding(&owner("x"), 9).is_empty(), "who has most has no more than that");
    for id in ["a", "b"] {
        quota.forget(id);
    }
    // 2 of one, 1 of the other.
    assert!(quota.yielding(&owner("y"), 9).is_empty());
    assert_eq!(quota.yielding(&owner("z"), 9), ["c"]);
}

#[test]
fn whose_an_upload_is_is_asked_once() {
    let quota = Quota::new(100, 5);
    quota.begin_look().end(vec![resting("a", 1, 1), resting("b", 1, 1)]);
    assert_eq!(quota.unread().len(), 2);
    quota.read("a", owner("x"));
    quota.read("b", Owner::default());
    quota.begin_look().end(vec![resting("a", 1, 1), resting("b", 1, 1), resting("c", 1, 1)]);
    assert_eq!(quota.unread(), ["c"]);
}

fn limits(max_kept: Option<u64>, max_staged: Option<u64>) -> OwnerLimits {
    OwnerLimits { max_kept, max_staged }
}

#[test]
fn an_owner_has_limits_beside_those_of_all() {
    let (quota, alice, bob) = (Quota::new(100, 5), owner("a"), owner("b"));
    quota.set_owner_limits([(alice.clone(), limits(Some(2), Some(30)))].into());
    assert_eq!((quota.left(&alice), quota.left(&bob)), (Some(30), Some(100)));
    assert_eq!(Quota::new(u64::MAX, 5).left(&bob), None);
    assert!(quota.admit("one", &alice).is_ok() && quota.take(Whose::Kept("one"), 20).is_ok());
    assert_eq!(quota.take(Whose::Plain(&alice), 11), Err(Full::Owner), "kept and plain bytes together");
    assert!(quota.take(Whose::Plain(&alice), 10).is_ok() && quota.take(Whose::Plain(&bob), 70).is_ok());
    assert_eq!((quota.left(&alice), quota.left(&bob)), (Some(0), Some(0)));
    quota.give_back(Whose::Plain(&alice), 5);
    assert_eq!((quota.left(&alice), quota.left(&bob)), (Some(5), Some(5)), "bob has no limit but that of all");
    assert_eq!(quota.take(Whose::Kept("one"), 6), Err(Full::Server), "of both, that of all is told");
    assert!(quota.take(Whose::Kept("one"), 5).is_ok());
    assert_eq!(quota.take(Whose::Plain(&bob), 1), Err(Full::Server));
    assert!(quota.admit("two", &alice).is_ok());
    assert_eq!(quota.admit("three", &alice), Err(Full::Owner));
    assert!(quota.admit("two", &alice).is_ok(), "one that is known takes no more room");
    assert!(["three", "four", "five"].iter().all(|id| quota.admit(id, &bob).is_ok()));
    assert_eq!(quota.admit("six", &bob), Err(Full::Server));
}

#[test]
fn a_lowered_limit_lets_nothing_more_in_and_throws_nothing_out() {
    let (quota, alice) = (Quota::new(100, 5), owner("a"));
    assert!(quota.take(Whose::Plain(&alice), 50).is_ok() && quota.admit("one", &alice).is_ok());
    quota.set_owner_limits([(alice.clone(), limits(Some(1), Some(40)))].into());
    assert_eq!((quota.take(Whose::Plain(&alice), 1), quota.admit("two", &alice)), (Err(Full::Owner), Err(Full::Owner)));
    quota.give_back(Whose::Plain(&alice), 20);
    assert!(quota.take(Whose::Plain(&alice), 10).is_ok());
    quota.set_limits(39, 1);
    assert_eq!(quota.take(Whose::Plain(&owner("b")), 1), Err(Full::Server));
    quota.set_owner_limits(HashMap::new());
    assert_eq!((quota.admit("two", &alice), quota.admit("one", &alice)), (Err(Full::Server), Ok(())));
    assert_eq!(quota.spare(Whose::Plain(&alice)), 0);
}

#[test]
fn what_rests_counts_for_its_owner_as_soon_as_that_is_known() {
    let (quota, alice) = (Quota::new(100, 5), owner("a"));
    quota.set_owner_limits([(alice.clone(), limits(None, Some(30)))].into());
    quota.begin_look().end(vec![resting("one", 25, 1), resting("two", 25, 1)]);
    assert!(quota.unread_for(&owner("b")).is_empty(), "for who has no limits it need not be known");
    assert_eq!(quota.unread_for(&alice).len(), 2);
    quota.read("one", alice.clone());
    quota.read("two", owner("b"));
    assert!(quota.unread_for(&alice).is_empty());
    assert_eq!(quota.take(Whose::Plain(&alice), 6), Err(Full::Owner));
    quota.begin_look().end(vec![resting("two", 25, 1)]);
    assert!(quota.take(Whose::Plain(&alice), 6).is_ok(), "another process has published it");
    assert_eq!(quota.spent(Some(&alice), 9), Vec::<String>::new());
}

/// Counts all of an owner anew.
fn recount(counts: &Counts, owner: Option<&Owner>) -> (u64, u64) {
    let of_owner = |known: &&Known| owner.is_none() || known.owner.as_ref() == owner;
    counts.known.values().filter(of_owner).fold((0, 0), |(ids, bytes), known| (ids + 1, bytes + known.bytes))
}

proptest! {
    #[test]
    fn sums_are_those_of_what_is_counted(
        steps in proptest::collection::vec((0..9u8, 0..4usize, 0..3usize, 0..60u64), 0..200),
    ) {
        let (ids, owners) = (["a", "b", "c", "d"], ["x", "y", "z"].map(owner));
        let quota = Quota::new(100, 3);
        quota.set_owner_limits([(owners[0].clone(), limits(Some(1), Some(40)))].into());
        let mut plain = [0; 3];
        for (step, id, whose, bytes) in steps {
            let (id, of) = (ids[id], &owners[whose]);
            match step {
                0 => drop(quota.admit(id, of)),
                1 => drop(quota.take(Whose::Kept(id), bytes)),
                2 if quota.take(Whose::Plain(of), bytes).is_ok() => plain[whose] += bytes,
                3 => {
                    quota.give_back(Whose::Plain(of), bytes.min(plain[whose]));
                    plain[whose] -= bytes.min(plain[whose]);
                }
                4 => quota.give_back(Whose::Kept(id), bytes),
                5 => quota.rest(&resting(id, bytes, 1)),
                6 => quota.forget(id),
                7 => quota.begin_look().end(vec![resting(id, bytes, 2)]),
                _ => quota.read(id, of.clone()),
            }
            let counts = quota.counts();
            prop_assert_eq!((counts.all.known, counts.all.kept), recount(&counts, None));
            prop_assert_eq!(counts.all.plain, plain.iter().sum::<u64>());
            for (owner, plain) in owners.iter().zip(plain) {
                let sums = counts.of(owner).0;
                prop_assert_eq!((sums.known, sums.kept), recount(&counts, Some(owner)));
                prop_assert_eq!(sums.plain, plain);
            }
            prop_assert_eq!(counts.unread as usize, counts.known.values().filter(|known| known.owner.is_none()).count());
        }
    }
}

#[test]
fn no_upload_sets_aside_what_others_need() {
    let quota = Quota::new(10 * AHEAD_PART, 5);
    assert_eq!(quota.spare(PLAIN), 10);
    assert!(quota.take(PLAIN, 10 * AHEAD_PART - 32).is_ok());
    assert_eq!(quota.spare(PLAIN), 2);
}

#[test]
fn refusals_have_the_disk_looked_at_now_and_then() {
    let quota = Quota::new(100, 2);
    assert!(quota.is_worth_a_look() && !quota.is_worth_a_look());
}

#[test]
fn what_happens_while_the_disk_is_looked_at_is_known_better() {
    let (quota, alice) = (Quota::new(100, 10), owner("a"));
    let counted = || quota.usage().map(|usage| (usage.kept_uploads, usage.kept_bytes));
    for id in ["kept", "published", "discarded"] {
        quota.hold(id, &alice, 10);
    }
    let (first, second) = (quota.begin_look(), quota.begin_look());
    let before = || ["published", "discarded", "evicted"].map(|id| resting(id, 60, 1)).to_vec();
    quota.rest(&resting("kept", 20, 2));
    quota.rest(&resting("published", 0, 2));
    quota.forget("discarded");
    quota.forget("evicted");
    for look in [first, second] {
        look.end(before());
        assert_eq!(counted(), Some((2, 20)));
    }
    let failed = quota.begin_look();
    quota.let_go("kept");
    drop(failed);
    assert!(quota.counts().looks.changed.is_empty(), "nothing is remembered longer than a look takes");
    // Another process has removed one, and made others.
    quota.begin_look().end(before());
    assert_eq!(counted(), Some((3, 180)));
}
