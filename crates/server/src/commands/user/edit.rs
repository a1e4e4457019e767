//! Edits of the text of a users file, which leave all the rest of it as it is: comments, order and spaces.
//!
//! The text was understood before: [`Users::parse`](crate::access::Users::parse) took it.

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, Key, RawString, Table, TableLike, TomlError, Value};

use super::arguments::Grant;
use crate::access::{TokenHash, UserName};

/// Returns the text with another user in it, who is not there yet: at its end.
pub(super) fn add(text: &str, name: &UserName, grants: &[Grant], password: Option<&str>) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let mut user = Table::new();
    if let Some(hash) = password {
        user.insert("password", hash.into());
    }
    let rights = grants.iter().map(|grant| {
        let name = grant.name.as_ref().map_or("", |name| name.as_str());
        (Key::new(name), Value::from(grant.rights.to_string()))
    });
    user.insert("rights", InlineTable::from_iter(rights).into());
    // Comments at the end of the file, and all else there, come before it.
    let before = document.trailing().as_str().unwrap_or_default().to_owned();
    let break_off = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let blank = if document.is_empty() && before.is_empty() { "" } else { "\n" };
    user.set_position(Some(isize::MAX));
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let users = document.entry("users").or_insert(Item::Table(implicit));
    let is_table = users.is_table();
    if let Some(users) = users.as_table_like_mut() {
        if is_table {
            user.decor_mut().set_prefix(format!("{before}{break_off}{blank}"));
            users.insert(name.as_str(), Item::Table(user));
            document.set_trailing("");
        } else {
            users.insert(name.as_str(), Item::Value(Value::InlineTable(user.into_inline_table())));
        }
    }
    Ok(document.to_string())
}

/// Returns the text with another hash of the password of `name`, who is there.
pub(super) fn set_password(text: &str, name: &UserName, hash: &str) -> Result<String, TomlError> {
    change(text, name, |user| match user.get_mut("password").and_then(Item::as_value_mut) {
        None => drop(user.insert("password", hash.into())),
        Some(value) => {
            let decor = value.decor().clone();
            *value = hash.into();
            *value.decor_mut() = decor;
        }
    })
}

/// Returns the text with one more token of `name`, who is there.
pub(super) fn add_token(text: &str, name: &UserName, hash: &TokenHash) -> Result<String, TomlError> {
    change(text, name, |user| {
        let tokens = user.entry("tokens").or_insert(Item::Value(Value::Array(Array::new())));
        if let Some(tokens) = tokens.as_array_mut() {
            push(tokens, hash.to_string());
        }
    })
}

/// Appends to a list. One that has a line for each entry goes on so, and a comment behind the last
/// entry stays there.
fn push(list: &mut Array, text: String) {
    let trailing = list.trailing().as_str().unwrap_or_default().to_owned();
    let indent =
        list.get(0).and_then(|first| prefix(first.decor()).rsplit_once('\n').map(|(_, indent)| indent.to_owned()));
    let Some(indent) = indent else { return list.push(text) };
    let mut value = Value::from(text);
    match trailing.rsplit_once('\n') {
        // Behind the comma of the last entry.
        Some((behind, closing)) if list.trailing_comma() => {
            value.decor_mut().set_prefix(format!("{behind}\n{indent}"));
            list.push_formatted(value);
            list.set_trailing(format!("\n{closing}"));
        }
        _ => {
            value.decor_mut().set_prefix(format!("\n{indent}"));
            list.push_formatted(value);
        }
    }
}

/// Returns the text without the tokens of `name` for which `revoked` is true.
pub(super) fn remove_tokens(text: &str, name: &UserName, revoked: impl Fn(&str) -> bool) -> Result<String, TomlError> {
    change(text, name, |user| {
        let Some(tokens) = user.get_mut("tokens").and_then(Item::as_array_mut) else { return };
        let is_revoked = |token: &Value| token.as_str().is_some_and(&revoked);
        let revoked: Vec<_> = (0..tokens.len()).filter(|at| tokens.get(*at).is_some_and(is_revoked)).collect();
        // From the end, so that the places of the others stay.
        revoked.into_iter().rev().for_each(|at| take(tokens, at));
    })
}

/// Removes an entry of a list, and the comment behind it on its line, which TOML counts to the next
/// entry. A comment on the line before stays.
fn take(list: &mut Array, at: usize) {
    let removed = list.remove(at);
    let before = prefix(removed.decor());
    let join = |after: &str| match (before.split_once('\n'), after.split_once('\n')) {
        (_, None) if at == 0 => before.to_owned(),
        (_, None) => after.to_owned(),
        (head, Some((_, tail))) => format!("{}\n{tail}", head.map_or("", |(head, _)| head)),
    };
    if let Some(next) = list.get_mut(at) {
        let joined = join(prefix(next.decor()));
        next.decor_mut().set_prefix(joined);
    } else if list.trailing_comma() {
        let joined = join(list.trailing().as_str().unwrap_or_default());
        list.set_trailing(joined);
        list.set_trailing_comma(!list.is_empty());
    }
}

/// Returns the text without `name`, who is there, and without the comment right above.
pub(super) fn remove(text: &str, name: &UserName) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let removed =
        document.get_mut("users").and_then(Item::as_table_like_mut).and_then(|users| users.remove(name.as_str()));
    // The last paragraph above its header is about it; paragraphs further up are not.
    if let Some(Item::Table(user)) = removed
        && let Some(position) = first_position(&user)
    {
        let above = header_prefix(&user, position);
        let kept = above.rfind("\n\n").map(|end| above[..=end].to_owned()).filter(|kept| kept.contains('#'));
        if let Some(kept) = kept {
            match next_header(document.as_table_mut(), position) {
                Some(next) => {
                    let joined = format!("{kept}{}", prefix(next.decor()));
                    next.decor_mut().set_prefix(joined);
                }
                None => {
                    let joined = format!("{kept}{}", document.trailing().as_str().unwrap_or_default());
                    document.set_trailing(joined);
                }
            }
        }
    }
    let without = document.to_string();
    // The blank line between the first user, who was removed, and the next one.
    Ok(if text.starts_with('\n') { without } else { without.trim_start_matches('\n').to_owned() })
}

/// The tables in `table` that have a header of their own, itself included.
fn headers<'a>(table: &'a Table, found: &mut Vec<&'a Table>) {
    if table.position().is_some() && !table.is_implicit() && !table.is_dotted() {
        found.push(table);
    }
    for (_, item) in table.iter() {
        if let Item::Table(inner) = item {
            headers(inner, found);
        }
    }
}

fn first_position(table: &Table) -> Option<isize> {
    let mut found = Vec::new();
    headers(table, &mut found);
    found.iter().filter_map(|table| table.position()).min()
}

fn header_prefix(table: &Table, position: isize) -> String {
    let mut found = Vec::new();
    headers(table, &mut found);
    let header = found.iter().find(|table| table.position() == Some(position));
    header.map_or("", |table| prefix(table.decor())).to_owned()
}

/// Returns the first table behind `position` that has a header.
fn next_header(table: &mut Table, position: isize) -> Option<&mut Table> {
    let mut found = Vec::new();
    headers(table, &mut found);
    let next = found.iter().filter_map(|table| table.position()).filter(|at| *at > position).min()?;
    at_position(table, next)
}

fn at_position(table: &mut Table, position: isize) -> Option<&mut Table> {
    if table.position() == Some(position) && !table.is_implicit() && !table.is_dotted() {
        return Some(table);
    }
    table.iter_mut().find_map(|(_, item)| at_position(item.as_table_mut()?, position))
}

fn change(text: &str, name: &UserName, edit: impl FnOnce(&mut dyn TableLike)) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let users = document.get_mut("users").and_then(Item::as_table_like_mut);
    if let Some(user) = users.and_then(|users| users.get_mut(name.as_str())).and_then(Item::as_table_like_mut) {
        edit(user);
    }
    Ok(document.to_string())
}

fn prefix(decor: &Decor) -> &str {
    decor.prefix().and_then(RawString::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::access::{Rights, Secret, Users};

    const FILE: &str = "\
# The users of the lab.
# Ask Eve before you edit it.

[anonymous] # nobody
rights = { \"\" = \"r\" }

# Alice is great.
[users.alice]
tokens = [
  \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", # laptop
  # the next one is old
  \"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\", # server
]
rights  =  { \"\"=\"r\",  projects = 'rw' }   # as agreed
password = \"$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg\" # weak

[users.bob] # and Bob
# may nothing

# the end
";

    const HASH: &str = "$argon2id$v=19$m=32,t=2,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn users(text: &str) -> Users {
        Users::parse(text, Path::new("users.toml")).unwrap_or_else(|error| panic!("{error}:\n{text}"))
    }

    /// Lines of `after` that `before` does not have, and the other way round.
    fn difference<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
        let only = |one: &'a str, other: &str| {
            let mut others: Vec<_> = other.lines().collect();
            let is_new = |line: &&str| match others.iter().position(|other| other == line) {
                Some(at) => {
                    others.remove(at);
                    false
                }
                None => true,
            };
            one.lines().filter(is_new).collect::<Vec<_>>()
        };
        (only(after, before), only(before, after))
    }

    fn grant(name: &str, rights: &str) -> Grant {
        Grant { name: ferry_wire::Name::new(name).ok(), rights: Rights::parse(rights).unwrap() }
    }

    #[test]
    fn a_new_user_comes_at_the_end_and_the_rest_stays() {
        let added = add(FILE, &name("carol"), &[grant("", "r"), grant("a b", "w")], Some(HASH)).unwrap();
        let expected =
            format!("{FILE}\n[users.carol]\npassword = \"{HASH}\"\nrights = {{ \"\" = \"r\", \"a b\" = \"w\" }}\n");
        assert_eq!(added, expected);
        users(&added);
    }

    #[test]
    fn a_new_user_fits_every_form_of_file() {
        for text in [
            "",
            "# a comment alone",
            "[anonymous]\n",
            "[users]",
            "[users]\nbob = { rights = {} } # inline\n",
            "users = { bob = { rights = {} } }\n# end\n",
            "users.bob.rights.a = \"r\"\n",
            "[users.bob.rights]\na = \"r\"\n[anonymous]",
        ] {
            let added = add(text, &name("b.c"), &[grant("x", "rw")], None).unwrap();
            let users = users(&added);
            let x = ferry_wire::Name::new("x").unwrap();
            assert_eq!(users.rights(Some(&name("b.c"))).of(Some(&x)), Rights::ALL, "{added}");
            for line in text.lines().filter(|line| line.contains('#')) {
                assert!(added.contains(&line[line.find('#').unwrap()..]), "{added}");
            }
            let again = remove(&added, &name("b.c")).unwrap();
            assert!(!again.contains("b.c"), "{again}");
        }
        assert_eq!(add("", &name("a"), &[], None).unwrap(), "[users.a]\nrights = {}\n");
    }

    #[test]
    fn a_password_is_replaced_in_its_place_or_comes_behind_what_is_there() {
        let changed = set_password(FILE, &name("alice"), HASH).unwrap();
        let (new, old) = difference(FILE, &changed);
        assert_eq!(new, [format!("password = \"{HASH}\" # weak")]);
        assert_eq!((old.len(), changed.lines().count()), (1, FILE.lines().count()));
        let changed = set_password(FILE, &name("bob"), HASH).unwrap();
        assert_eq!(difference(FILE, &changed), (vec![&*format!("password = \"{HASH}\"")], vec![]));
        assert!(users(&changed).secrets(&name("bob")).0);
        for text in [
            "users = { bob = {} }",
            "users.bob.rights.a = 'r'",
            "[users.bob.rights]\na='r'\n[users.x]",
            "[users]\nbob={}",
        ] {
            let changed = set_password(text, &name("bob"), HASH).unwrap();
            assert!(users(&changed).secrets(&name("bob")).0, "{changed}");
        }
    }

    #[test]
    fn a_token_comes_behind_the_others_and_comments_stay_with_theirs() {
        let hash = TokenHash::of(&Secret::from_bytes(b"x").unwrap());
        let added = add_token(FILE, &name("alice"), &hash).unwrap();
        assert_eq!(difference(FILE, &added), (vec![&*format!("  \"{hash}\",")], vec![]));
        let server = FILE.lines().find(|line| line.ends_with("# server")).unwrap();
        assert!(added.contains(&format!("{server}\n  \"{hash}\",\n]")), "{added}");
        assert_eq!(users(&added).secrets(&name("alice")).1.len(), 3);
        let own = add_token(FILE, &name("bob"), &hash).unwrap();
        assert_eq!(difference(FILE, &own).0, [format!("tokens = [\"{hash}\"]")]);
        let second = add_token(&own, &name("bob"), &hash).unwrap();
        assert_eq!(difference(FILE, &second).0, [format!("tokens = [\"{hash}\", \"{hash}\"]")]);
        for list in ["[\n \"LAPTOP\" # l\n]", "[ ]", "[\n]", "[\n # none\n]", "[\"LAPTOP\", # l\n]", "[\"LAPTOP\",]"] {
            let list = list.replace("LAPTOP", &hash.to_string());
            let text = format!("[users.a]\ntokens = {list}\n");
            let added = add_token(&text, &name("a"), &hash).unwrap();
            let before = users(&text).secrets(&name("a")).1.len();
            assert_eq!(users(&added).secrets(&name("a")).1.len(), before + 1, "{added}");
            assert!(text.matches('#').count() <= added.matches('#').count(), "{added}");
        }
    }

    #[test]
    fn a_token_goes_with_its_comment() {
        let without = |which: &'static str| remove_tokens(FILE, &name("alice"), |hash| hash.contains(which)).unwrap();
        let (laptop, server) = (without("aaa"), without("bbb"));
        let (new, old) = difference(FILE, &laptop);
        assert!(new.is_empty() && old.len() == 1 && old[0].ends_with("# laptop"), "{new:?} {old:?}");
        let (new, old) = difference(FILE, &server);
        assert!(new.is_empty() && old.len() == 2 && old[1].ends_with("# server"), "{new:?} {old:?}");
        let none = without("sha256");
        assert_eq!(users(&none).secrets(&name("alice")).1.len(), 0, "{none}");
        for (list, left) in
            [("['A', 'B']", "['B']"), ("['B', 'A']", "['B']"), ("['A','B', 'A' ,]", "['B',]"), ("['A']", "[]")]
        {
            let hashes = |text: &str| {
                let [a, b] = ["a", "b"].map(|letter| format!("sha256:{}", letter.repeat(64)));
                format!("[users.x]\ntokens = {}\n", text.replace('A', &a).replace('B', &b))
            };
            let removed = remove_tokens(&hashes(list), &name("x"), |hash| hash.contains("aaa")).unwrap();
            assert_eq!(removed.replace(' ', ""), hashes(left).replace(' ', ""));
        }
    }

    #[test]
    fn a_user_goes_with_the_comment_above_and_nothing_else() {
        let removed = remove(FILE, &name("alice")).unwrap();
        let (new, old) = difference(FILE, &removed);
        assert_eq!(new, Vec::<&str>::new(), "{removed}");
        assert!(old.contains(&"# Alice is great.") && old.contains(&"[users.alice]"), "{old:?}");
        assert!(removed.contains("Ask Eve") && removed.contains("# may nothing") && removed.ends_with("# the end\n"));
        let removed = remove(FILE, &name("bob")).unwrap();
        assert_eq!(difference(FILE, &removed), (vec![], vec!["[users.bob] # and Bob", ""]));
        // The head of a file stands above its first user, but is not about that one.
        let text = "# The head.\n\n# Of alice.\n[users.alice]\n[users.alice.rights]\n\n[users.bob]\n";
        assert_eq!(remove(text, &name("alice")).unwrap(), "# The head.\n\n[users.bob]\n");
        let text = "# The head.\n\n[users.alice]\n";
        assert_eq!(remove(text, &name("alice")).unwrap(), "# The head.\n");
        let text = "[users.alice]\nrights = {}\n\n[users.bob]\nrights = {}\n";
        assert_eq!(remove(text, &name("alice")).unwrap(), "[users.bob]\nrights = {}\n");
        assert_eq!(remove(&remove(text, &name("alice")).unwrap(), &name("bob")).unwrap(), "");
        for text in ["users = { bob = {}, a = {} }", "users.bob.rights.a = 'r'\nusers.a = {}", "[users]\nbob={}\na={}"]
        {
            let removed = remove(text, &name("bob")).unwrap();
            assert_eq!(users(&removed).names(), [&name("a")], "{removed}");
        }
    }
}
