//! A `ferryd.toml` with every key in it, each explained and commented out.

use std::fmt::Write as _;

use super::{
    keys::{Key, Keys},
    setting::quoted,
};

/// The width to which comments wrap.
const COLUMNS: usize = 100;

const HEAD: &str = "ferryd.toml: the configuration of ferryd.\n\
                    All keys stand here, with their defaults, or with an example where there is none. A variable of the \
                    environment goes before its key in this file, and an option of the command line before both.\n\
                    Paths are relative to the directory of this file. Sizes are numbers of bytes, or have a unit: kB, MB, \
                    GB, TB, KiB, MiB, GiB, TiB. Times have ms, s, min, h or d.\n\
                    Keys marked (reload) change with 'ferryd reload' or SIGHUP, all others with a new start.\n\
                    'ferryd check' validates this file, and shows what holds.";

/// Returns the text of the file.
#[must_use]
pub fn example() -> String {
    let mut text = String::new();
    for paragraph in HEAD.lines() {
        comment(&mut text, paragraph);
    }
    for key in Keys::new().all() {
        text.push('\n');
        explain(&mut text, &key);
        let value = if key.is_flag() { key.example() } else { quoted(&key.example()) };
        // The files of this one are somebody's own to name: it is not valid before they are there.
        let mark = if key.is_path() && key.default().is_none() { "# " } else { "#" };
        let _ = writeln!(text, "{mark}{} = {}", key.name(), if key.is_list() { format!("[{value}]") } else { value });
    }
    text
}

fn explain(text: &mut String, key: &Key<'_>) {
    let (summary, paragraphs) = key.explained();
    let live = if key.is_live() { " (reload)" } else { "" };
    comment(text, &format!("{}{live}", summary.replace("\n", " ")));
    let choices = key.choices();
    if !choices.is_empty() {
        comment(text, &format!("One of {}.", choices.join(", ")));
    }
    for paragraph in paragraphs {
        text.push_str("#\n");
        comment(text, &paragraph);
    }
}

/// Appends a paragraph as comment lines.
fn comment(text: &mut String, paragraph: &str) {
    let mut line = String::from("#");
    for word in paragraph.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
