//! Completions for the shells of the system, made of the definition of the options itself.

use clap_complete::Shell;

use super::arguments::Arguments;

/// Returns the script that makes a shell complete the program's words.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::described(), "ferryd", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_commands_are_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            for word in ["max-clients", "durability", "user", "check"] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }
}
