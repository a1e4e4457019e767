//! Finds the known word that looks most like a mistyped one.

/// The characters shown of a word that is none.
pub(crate) const SHOWN_CHARS: usize = 40;

/// Longer words are no slip of the fingers.
const MAX_CHARS: usize = 24;

/// Longer names are pasted and not typed.
const MAX_NAME_CHARS: usize = 64;

/// The number of names that can be compared before anybody notices that it takes time.
const MAX_NAMES: usize = 2000;

/// Returns which of the words `known` looks most like `text`, if any does.
pub(crate) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, word) = closest(text, MAX_CHARS, known)?;
    // With more than half of the letters wrong it is another word.
    (distance <= word.len() / 2).then_some(word)
}

/// Returns which of `names` looks most like the name `text`, if any does.
pub(crate) fn name<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = closest(text, MAX_NAME_CHARS, names.take(MAX_NAMES))?;
    // Names look alike more easily than commands do.
    (distance * 4 <= name.chars().count()).then_some(name)
}

fn closest<'a>(text: &str, most_chars: usize, known: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    if text.chars().count() > most_chars {
        return None;
    }
    let short = known.filter(|word| word.chars().count() <= most_chars);
    short.map(|word| (distance(text, word), word)).min_by_key(|(distance, _)| *distance)
}

/// Returns how many letters must be put in, taken out, changed or swapped with their neighbour to make `a` into `b`.
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
    fn names_that_look_alike_are_offered() {
        let names = ["ozymandias.txt", "the tyger.txt", "a.txt", "Grüße.txt"];
        let alike = |text| name(text, names.into_iter());
        assert_eq!(alike("ozymandius.txt"), Some("ozymandias.txt"));
        assert_eq!(alike("The Tyger.txt"), Some("the tyger.txt"));
        assert_eq!(alike("Grüsse.txt"), Some("Grüße.txt"));
        assert_eq!((alike("b.txt"), alike("something"), alike("")), (Some("a.txt"), None, None));
        assert_eq!((alike(&"x".repeat(1000)), name("a", std::iter::empty())), (None, None));
    }
}
