//! Completions for the shells of the system, made from the command line; with what clap's own lack.

use clap::{Arg, ArgAction, ValueHint};
use clap_complete::Shell;

use super::args;

const PROGRAM: &str = "ferry";

/// The subcommand that knows names of servers, in the scripts below. It prints them, a line each, and fails where no such
/// name belongs.
const PLACE: &str = "{NAMES}";

/// Asks for names of the server first, quoted: Bash leaves a '$' as it is.
const BASH: &str = r#"
_ferry_or_names() {
    local found line="${COMP_LINE:0:COMP_POINT}"
    found=$(command "$1" {NAMES} --bash "$COMP_WORDBREAKS" -- "$line" 2>/dev/null </dev/null) ||
        { _ferry "$@"; return; }
    compopt +o bashdefault +o default -o filenames -o noquote
    COMPREPLY=()
    [[ -n $found ]] || return 0
    mapfile -t COMPREPLY <<<"$found"
    [[ ${#COMPREPLY[@]} -gt 1 || ${COMPREPLY[0]} != */ ]] || compopt -o nospace
}
complete -F _ferry_or_names -o bashdefault -o default ferry
"#;

/// The beginning of the function that clap makes for zsh.
const ZSH_BEGIN: &str = "_ferry() {\n";

/// Asks for names of the server first.
const ZSH: &str = r#"    local ferry_found
    if ferry_found="$(command ${(Q)words[1]} {NAMES} -- "${(j: :)words[1,CURRENT-1]} ${QIPREFIX}${PREFIX}" 2>/dev/null </dev/null)"; then
        local -a ferry_names=(${(f)ferry_found})
        compadd -S '' -- ${(M)ferry_names:#*/}
        compadd -- ${ferry_names:#*/}
        return
    fi

"#;

/// Asks for names of the server, and says whether one belongs there: where not, local files may.
const FISH: &str = r#"
function __fish_ferry_awaits_name
    set -g __fish_ferry_names (command ferry {NAMES} -- (commandline -cp | string collect) 2>/dev/null </dev/null)
end
complete -c ferry -n "__fish_seen_subcommand_from {SUBCOMMANDS}; and __fish_ferry_awaits_name" -f \
    -a "(printf '%s\n' \$__fish_ferry_names)"
"#;

/// Returns the script that makes a shell complete the program's words.
pub(crate) fn script(shell: Shell) -> Vec<u8> {
    // Its value stands after '=' or not at all, which the shells can't be told: they would take the next word for it.
    let mut command = args::command_for_completions().mut_arg("keep_going", |arg| {
        let arg = arg.num_args(0).require_equals(false).default_missing_value(None);
        arg.hide_possible_values(false).action(ArgAction::SetTrue)
    });
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, PROGRAM, &mut text);
    match (shell, String::from_utf8(text)) {
        (Shell::Zsh, Ok(text)) => zsh(&text).into_bytes(),
        (Shell::Fish, Ok(text)) => (fish(&text) + &fish_arguments(&command) + &fish_names()).into_bytes(),
        (Shell::Bash, Ok(text)) => (text + &BASH.replace(PLACE, args::NAMES)).into_bytes(),
        (_, Ok(text)) => text.into_bytes(),
        (_, Err(error)) => error.into_bytes(),
    }
}

/// Mends the script for zsh: with two colons, it takes what stands after the first name for no options.
fn zsh(text: &str) -> String {
    let text = text.replace("'*::names ", "'*:names ");
    text.replacen(ZSH_BEGIN, &format!("{ZSH_BEGIN}{}", ZSH.replace(PLACE, args::NAMES)), 1)
}

/// Adds names of the server for fish, which takes those that fit.
fn fish_names() -> String {
    let names: Vec<&str> = super::command::lookup::one_shot().map(clap::Command::get_name).collect();
    FISH.replace(PLACE, args::NAMES).replace("{SUBCOMMANDS}", &names.join(" "))
}

/// Mends the script for fish: an option whose value is still to come is an error to argparse, which then means that no
/// subcommand was given.
fn fish(text: &str) -> String {
    text.replace("-- $cmd 2>/dev/null\n    or return\n", "-- $cmd 2>/dev/null\n    or return 0\n")
}

/// Tells fish where arguments are no local files: it completes those where clap says nothing.
fn fish_arguments(command: &clap::Command) -> String {
    let mut text = String::new();
    for subcommand in command.get_subcommands() {
        let last = subcommand.get_positionals().last();
        if last.is_some_and(names_files) {
            continue;
        }
        let values = last.map(Arg::get_possible_values).unwrap_or_default();
        let values: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
        let chosen = if values.is_empty() { String::new() } else { format!(" -a \"{}\"", values.join(" ")) };
        let name = subcommand.get_name();
        text.push_str(&format!("complete -c {PROGRAM} -n \"__fish_{PROGRAM}_using_subcommand {name}\" -f{chosen}\n"));
    }
    text
}

fn names_files(arg: &Arg) -> bool {
    matches!(arg.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(shell: Shell) -> String {
        String::from_utf8(script(shell)).unwrap()
    }

    #[test]
    fn what_is_mended_is_still_there_to_be_mended() {
        let zsh = text(Shell::Zsh);
        assert!(zsh.contains("'*:names ") && !zsh.contains("'*::names "), "{zsh}");
        let fish = text(Shell::Fish);
        assert!(fish.contains("    or return 0\n") && !fish.contains("    or return\n"), "{fish}");
    }

    #[test]
    fn an_option_that_may_stand_alone_takes_no_word() {
        assert!(text(Shell::Zsh).contains("'--keep-going["));
        assert!(text(Shell::Fish).contains(" k/keep-going "));
    }

    #[test]
    fn fish_completes_local_files_only_where_they_are_meant() {
        let fish = text(Shell::Fish);
        let own: Vec<&str> = fish.lines().filter(|line| line.contains(" -f") && !line.contains(" -d ")).collect();
        assert!(own.iter().any(|line| line.ends_with("completions\" -f -a \"bash elvish fish powershell zsh\"")));
        for (name, files) in [("get", false), ("put", true), ("sync", true), ("rm", false), ("man", false)] {
            assert_eq!(!own.iter().any(|line| line.contains(&format!("using_subcommand {name}\""))), files, "{name}");
        }
    }
}
