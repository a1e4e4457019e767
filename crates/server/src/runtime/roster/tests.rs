use super::*;

/// A job of a test: what it needs is written as text.
#[derive(Debug, Clone)]
struct Job {
    token: usize,
    needs: &'static str,
    is_awaited: bool,
}

/// `read NAME`, `write NUMBER`, `move NAME [NAME]`, `make NAME`, or `release [NUMBER]`.
fn job(token: usize, needs: &'static str) -> Job {
    Job { token, needs, is_awaited: true }
}

/// All names that were asked for. For all threads: what one that ends had leaked is reported by the sanitizer.
static NAMES: std::sync::Mutex<std::collections::BTreeMap<&'static str, &'static Name>> =
    std::sync::Mutex::new(std::collections::BTreeMap::new());

fn name(text: &'static str) -> &'static Name {
    let mut names = NAMES.lock().unwrap();
    names.entry(text).or_insert_with(|| Box::leak(Box::new(Name::new(text).unwrap())))
}

impl Duty for Job {
    type Waiter = usize;

    fn token(&self) -> Token {
        Token(self.token)
    }

    fn scope(&self) -> Scope<'_> {
        let mut words = self.needs.split(' ');
        let verb = words.next().unwrap();
        match verb {
            "read" => Scope::Read(&self.needs[5..]),
            "write" | "release" => words.next().map_or(Scope::Nothing, |upload| Scope::Upload(upload.parse().unwrap())),
            "make" | "move" => {
                let names = [words.next().map(name), words.next().map(name)];
                Scope::Names { names, moves: verb == "move" }
            }
            _ => Scope::Nothing,
        }
    }

    fn take_waiter(&mut self) -> Option<usize> {
        std::mem::take(&mut self.is_awaited).then_some(self.token)
    }

    fn remainder(self) -> Option<Job> {
        self.needs.starts_with("release").then_some(self)
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(1);

/// A lane, its time, and helpers that come for jobs when they are told to.
struct Stage {
    roster: Roster<Job>,
    now: Instant,
}

impl Stage {
    fn new(wanted: usize, spares: usize) -> Stage {
        Stage { roster: Roster::new(wanted, spares, Some(PATIENCE)), now: Instant::now() }
    }

    fn push(&mut self, token: usize, needs: &'static str) {
        assert_eq!(self.roster.push(job(token, needs)), None, "{needs} is refused");
    }

    #[track_caller]
    fn refuses(&mut self, needs: &'static str) {
        assert_eq!(self.roster.push(job(99, needs)), Some(99), "{needs} would wait for ever");
    }

    /// Returns the job that a helper gets that comes, and its number.
    fn take(&mut self) -> Option<(u64, &'static str)> {
        self.roster.take(9, self.now).map(|(number, job)| (number, job.needs))
    }

    #[track_caller]
    fn takes(&mut self, needs: &str) -> u64 {
        let (number, taken) = self.take().expect("a job");
        assert_eq!(taken, needs);
        number
    }

    fn more(&mut self, number: u64) -> Option<&'static str> {
        self.roster.more(number, self.now).map(|job| job.needs)
    }

    /// Time goes by. Returns how many helpers are missing, and who is told that nothing answers.
    fn after(&mut self, time: Duration) -> (usize, Vec<usize>) {
        self.now += time;
        let Look { missing, expired, refused, .. } = self.roster.look(self.now, TIMEOUT);
        (missing, expired.into_iter().chain(refused).collect())
    }

    /// A helper comes back. Returns whom it may tell, and whether it leaves.
    fn back(&mut self, number: u64) -> (Vec<usize>, bool) {
        let waiters = self.roster.done(number);
        let leaves = self.roster.back(number, self.now).unwrap().leaves;
        if leaves {
            self.roster.left();
        }
        (waiters, leaves)
    }
}

#[test]
fn connections_are_served_in_turn() {
    let mut stage = Stage::new(1, 0);
    for (token, needs) in [(1, "read a"), (1, "read b"), (1, "read c"), (2, "read d"), (3, "read e"), (2, "read f")] {
        stage.push(token, needs);
    }
    let order: Vec<_> = std::iter::from_fn(|| stage.take().map(|(_, needs)| needs)).collect();
    assert_eq!(order, ["read a", "read d", "read e", "read b", "read f", "read c"]);
}

#[test]
fn what_is_forgotten_is_not_done() {
    let mut stage = Stage::new(1, 0);
    for (token, needs) in [(1, "read a"), (2, "read b"), (1, "read c")] {
        stage.push(token, needs);
    }
    let number = stage.takes("read a");
    assert!(stage.roster.gets_on(number, stage.now));
    assert_eq!(stage.roster.forget(Token(1)).len(), 1, "one is under way");
    assert!(!stage.roster.gets_on(number, stage.now), "nobody waits for it");
    stage.takes("read b");
    assert_eq!(stage.roster.waiting(), 0);
}

#[test]
fn a_helper_that_comes_back_late_is_one_too_many() {
    let mut stage = Stage::new(1, 1);
    for (token, needs) in [(1, "read stuck"), (2, "read stuck"), (3, "read b")] {
        stage.push(token, needs);
    }
    let late = stage.takes("read stuck");
    assert_eq!(stage.after(Duration::ZERO), (0, vec![]), "it may come back yet");
    assert_eq!(stage.after(PATIENCE), (1, vec![]));
    assert_eq!(stage.after(Duration::ZERO), (0, vec![]), "there is one that can work");
    let other = stage.takes("read b");
    assert_eq!(stage.take(), None, "what is asked of a stuck file waits");
    assert_eq!(stage.back(late), (vec![1], true));
    assert_eq!(stage.back(other), (vec![3], false));
    stage.takes("read stuck");
}

#[test]
fn jobs_that_are_not_answered_expire_and_what_would_wait_for_them_is_refused() {
    let mut stage = Stage::new(1, 1);
    for (token, needs) in [(1, "read stuck"), (2, "read stuck"), (3, "read too")] {
        stage.push(token, needs);
    }
    let late = stage.takes("read stuck");
    assert_eq!(stage.after(TIMEOUT), (1, vec![1, 2]), "whoever waits for the same file as well");
    stage.refuses("read stuck");
    // The other one gets stuck too: none is left.
    let too = stage.takes("read too");
    stage.push(5, "read fine");
    assert_eq!(stage.after(TIMEOUT), (0, vec![3, 5]));
    stage.refuses("read fine");
    assert_eq!(stage.roster.expired(), 6);
    // Late: nobody waits, and all goes on.
    assert!(!stage.roster.gets_on(late, stage.now));
    assert_eq!(stage.back(late), (vec![], false), "there are no more than there are to be");
    stage.push(7, "read stuck");
    stage.takes("read stuck");
    assert_eq!(stage.back(too), (vec![], true));
}

#[test]
fn of_an_upload_one_write_is_done_at_a_time() {
    let mut stage = Stage::new(2, 1);
    for (token, needs) in [(1, "write 1"), (1, "write 1"), (2, "write 2")] {
        stage.push(token, needs);
    }
    let first = stage.takes("write 1");
    let other = stage.takes("write 2");
    assert_eq!(stage.take(), None);
    assert_eq!(stage.back(first), (vec![1], false));
    stage.takes("write 1");
    assert_eq!(stage.back(other), (vec![2], false));
    stage.push(1, "write 1");
    assert_eq!(stage.after(TIMEOUT), (1, vec![1, 1]), "the one that waits has no better prospects");
}

#[test]
fn what_lets_go_is_done_though_nobody_waits() {
    let mut stage = Stage::new(1, 0);
    stage.push(1, "write 1");
    let late = stage.takes("write 1");
    stage.push(1, "release");
    assert_eq!(stage.after(TIMEOUT), (0, vec![1, 1]), "no helper is left");
    stage.refuses("release");
    assert_eq!(stage.after(TIMEOUT), (0, vec![]), "everybody is told once");
    assert_eq!(stage.back(late), (vec![], false));
    for _ in 0..2 {
        let number = stage.takes("release");
        assert_eq!(stage.back(number), (vec![], false));
    }
    assert_eq!(stage.take(), None);
}

#[test]
fn what_lets_go_later_holds_up_neither_its_connection_nor_others_that_let_go() {
    let mut stage = Stage::new(2, 1);
    for upload in ["write 1", "write 2"] {
        stage.push(9, upload);
    }
    let (first, second) = (stage.takes("write 1"), stage.takes("write 2"));
    for (token, needs) in [(1, "release 1"), (1, "release 2")] {
        stage.push(token, needs);
    }
    assert_eq!(stage.after(TIMEOUT), (1, vec![9, 9, 1, 1]));
    stage.push(1, "write 3");
    stage.takes("write 3");
    assert_eq!(stage.back(second), (vec![], false));
    stage.takes("release 2");
    assert_eq!(stage.take(), None);
    assert_eq!(stage.back(first), (vec![], true));
    stage.takes("release 1");
}

#[test]
fn a_change_that_is_stuck_holds_up_what_needs_its_names_and_nothing_else() {
    let mut stage = Stage::new(1, 1);
    stage.push(1, "move d/e/f g/h");
    let late = stage.takes("move d/e/f g/h");
    stage.push(2, "make x");
    stage.after(PATIENCE);
    let busy = [
        "make d/e/f",
        "make d/e/f/below",
        "make d/e/beside",
        "make d/e",
        "make g",
        "make g/h",
        "make g/other",
        "move x",
    ];
    let fine = ["make x", "make d/x", "make a/b", "make h"];
    for needs in busy {
        stage.push(3, needs);
    }
    let mut done = Vec::new();
    for needs in fine.into_iter().skip(1) {
        stage.push(4, needs);
    }
    while let Some((number, needs)) = stage.take() {
        stage.back(number);
        // The replacement stays.
        done.push(needs);
    }
    assert_eq!(done, fine);
    assert_eq!(stage.after(TIMEOUT).1, [[1].as_slice(), &[3; 8]].concat());
    busy.into_iter().for_each(|needs| stage.refuses(needs));
    stage.back(late);
    stage.push(3, "make d/e/f");
    stage.takes("make d/e/f");
}

#[test]
fn a_connection_overtakes_itself_only_when_it_was_told() {
    let mut stage = Stage::new(1, 2);
    stage.push(1, "make a/x");
    let _late = stage.takes("make a/x");
    stage.push(1, "make b/x");
    stage.push(2, "make c/x");
    stage.after(PATIENCE);
    stage.takes("make c/x");
    assert_eq!(stage.take(), None, "the second change of a connection comes after the first");
    assert_eq!(stage.after(TIMEOUT).1, [1, 2]);
    stage.takes("make b/x");
}

#[test]
fn what_a_stuck_helper_has_not_begun_is_left_to_others() {
    let mut stage = Stage::new(1, 1);
    for (token, needs) in [(1, "make a/x"), (2, "make b/x"), (3, "make c/x"), (4, "make a/y")] {
        stage.push(token, needs);
    }
    let late = stage.takes("make a/x");
    assert_eq!(stage.more(late), Some("make b/x"));
    stage.push(5, "make e/x");
    assert_eq!(stage.after(PATIENCE), (1, vec![]));
    assert_eq!(stage.more(late), None, "it was written off");
    let other = stage.takes("make c/x");
    assert_eq!((stage.more(other), stage.more(other)), (Some("make e/x"), None));
    assert_eq!(stage.back(other), (vec![3, 5], false));
    assert_eq!(stage.back(late), (vec![1, 2], true), "in time, though late");
    stage.takes("make a/y");
}

#[test]
fn no_more_is_taken_together_than_waited_at_the_beginning() {
    let mut stage = Stage::new(1, 0);
    stage.push(1, "make a");
    stage.push(2, "make b");
    let number = stage.takes("make a");
    stage.push(3, "make c");
    assert_eq!((stage.more(number), stage.more(number)), (Some("make b"), None));
}

#[test]
fn without_patience_a_helper_is_written_off_when_its_jobs_expire() {
    let mut stage = Stage { roster: Roster::new(1, 1, None), now: Instant::now() };
    stage.push(1, "make a/x");
    let number = stage.takes("make a/x");
    stage.push(2, "make b/x");
    assert_eq!(stage.after(TIMEOUT / 2), (0, vec![]));
    assert!(stage.roster.gets_on(number, stage.now));
    assert_eq!(stage.after(TIMEOUT / 2), (0, vec![]), "it got on");
    assert_eq!(stage.after(TIMEOUT / 2), (1, vec![1]));
    stage.takes("make b/x");
}
