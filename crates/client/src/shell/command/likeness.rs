//! What was probably meant by a word that is none.

use super::table::{FORMS, Form};

/// What is shown of a word that is none.
pub(crate) const SHOWN_CHARS: usize = 40;

/// Longer words are no slip of the fingers.
const MAX_CHARS: usize = 24;

/// The command that was probably meant.
pub(crate) fn command(verb: &str) -> Option<&'static Form> {
    let verb = verb.to_ascii_uppercase();
    let synonym = FORMS.iter().find(|form| form.synonyms.contains(&verb.as_str()));
    synonym.or_else(|| nearest(&verb, FORMS.iter().map(|form| (form.verb, form))))
}

/// Which of `known` looks most like `text`, if any does.
pub(crate) fn nearest<T>(text: &str, known: impl Iterator<Item = (&'static str, T)>) -> Option<T> {
    if text.chars().count() > MAX_CHARS {
        return None;
    }
    let (distance, word, found) =
        known.map(|(word, found)| (distance(text, word), word, found)).min_by_key(|(distance, ..)| *distance)?;
    // With more than half of the letters wrong it is another word.
    (distance <= word.len() / 2).then_some(found)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour to make `a`
/// into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_one_mistake() {
        assert_eq!((distance("GTE", "GET"), distance("", "GET"), distance("QUTI", "QUIT")), (1, 3, 1));
    }

    #[test]
    fn only_what_looks_alike_is_offered() {
        assert_eq!(command("gte").map(|form| form.verb), Some("GET"));
        assert_eq!(command("exit").map(|form| form.verb), Some("QUIT"));
        assert_eq!(command("frobnicate"), None);
        assert_eq!(command(&"x".repeat(1 << 20)), None);
    }
}
