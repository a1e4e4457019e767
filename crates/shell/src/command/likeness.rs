//! Finds the known word that looks most like a mistyped one.

use strsim::osa_distance;

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
    short.map(|word| (osa_distance(text, word), word)).min_by_key(|(distance, _)| *distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_one_mistake() {
        let known = ["GET", "QUIT"];
        let near = |text| nearest(text, known.into_iter());
        assert_eq!((near("GTE"), near("QUTI"), near("")), (Some("GET"), Some("QUIT"), None));
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
