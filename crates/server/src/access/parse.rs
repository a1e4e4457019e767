//! Reads the text of a users file: strictly, and as a whole.
//!
//! ```toml
//! [anonymous]                      # who has not logged in; without this table: nothing
//! rights = { "" = "r" }
//!
//! [users.alice]
//! password = "$argon2id$..."       # a PHC string
//! tokens = ["sha256:<64 hex digits>"]
//! rights = { "" = "r", "projects" = "rw", "inbox" = ["add"] }
//! max-clients = 4                  # these four in place of the server's; sizes may have units
//! rate = "10MiB"
//! max-kept = 100
//! max-staged = "1GiB"
//! ```
//!
//! Every key may be missing; a user without rights may do nothing. An unknown key is an error: a
//! rule with a typo in it would be no rule.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_wire::Name;
use toml_edit::{Document, Item, TableLike, Value};

use super::{
    PasswordHash, Rights, RightsTable, TokenHash, UserName, Users,
    users::{Account, UserLimits},
};
use crate::units;

/// A users file that can't be read or that makes no sense. It names the file, the line, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersError {
    path: PathBuf,
    line: Option<usize>,
    problem: String,
}

impl UsersError {
    pub(super) fn unreadable(path: &Path, problem: String) -> UsersError {
        UsersError { path: path.to_owned(), line: None, problem }
    }
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for UsersError {}

impl Users {
    /// Reads the text of the users file at `path`.
    ///
    /// # Errors
    ///
    /// The first thing in it that makes no sense, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Users, UsersError> {
        read(text).map_err(|Problem { at, text: problem }| {
            let before = &text.as_bytes()[..at.min(text.len())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            UsersError { path: path.to_owned(), line: Some(line), problem }
        })
    }
}

/// A thing that makes no sense, and its first byte.
struct Problem {
    at: usize,
    text: String,
}

type Read<T> = Result<T, Problem>;

fn read(text: &str) -> Read<Users> {
    let document = Document::parse(text).map_err(|error| {
        let lines: Vec<_> = error.message().lines().collect();
        Problem { at: error.span().map_or(0, |span| span.start), text: lines.join(", ") }
    })?;
    let (mut anonymous, mut accounts) = (RightsTable::default(), HashMap::new());
    for entry in entries(document.as_table(), "") {
        match entry.key {
            "anonymous" => anonymous = read_anonymous(&entry)?,
            "users" => accounts = read_accounts(&entry)?,
            _ => return Err(entry.unknown("the file has [anonymous] and [users.NAME]")),
        }
    }
    Ok(Users::new(anonymous, accounts))
}

fn read_anonymous(table: &Entry<'_>) -> Read<RightsTable> {
    let mut rights = RightsTable::default();
    for entry in table.entries("a table: [anonymous]")? {
        match entry.key {
            "rights" => rights = read_rights(&entry)?,
            _ => return Err(entry.unknown("[anonymous] has rights alone")),
        }
    }
    Ok(rights)
}

fn read_accounts(table: &Entry<'_>) -> Read<HashMap<UserName, Account>> {
    let mut accounts = HashMap::new();
    for entry in table.entries("a table of users: [users.NAME]")? {
        let name = UserName::new(entry.key).map_err(|error| entry.wrong(&error.to_string()))?;
        accounts.insert(name, read_account(&entry)?);
    }
    Ok(accounts)
}

fn read_account(table: &Entry<'_>) -> Read<Account> {
    let mut account = Account::default();
    let limits: &mut UserLimits = &mut account.limits;
    for entry in table.entries("a table: [users.NAME]")? {
        match entry.key {
            "password" => {
                let hash = PasswordHash::parse(entry.string("a hash in quotes")?);
                account.password = Some(hash.map_err(|error| entry.wrong(&error.to_string()))?);
            }
            "tokens" => account.tokens = read_tokens(&entry)?,
            "rights" => account.rights = Arc::new(read_rights(&entry)?),
            "max-clients" => limits.max_clients = Some(entry.number(1)?),
            "rate" => limits.rate = Some(entry.number(1)?),
            "max-kept" => limits.max_kept = Some(entry.number(0)?),
            "max-staged" => limits.max_staged = Some(entry.number(0)?),
            _ => {
                return Err(
                    entry.unknown("a user has password, tokens, rights, max-clients, rate, max-kept and max-staged")
                );
            }
        }
    }
    Ok(account)
}

fn read_tokens(entry: &Entry<'_>) -> Read<Vec<TokenHash>> {
    const WANTED: &str = "a list of hashes: [\"sha256:...\"]";
    let list = entry.item.as_array().ok_or_else(|| entry.needs(WANTED))?;
    let read = |value: &Value| {
        let text = value.as_str().ok_or_else(|| entry.needs(WANTED))?;
        TokenHash::parse(text).map_err(|error| entry.wrong_at(value.span(), &error.to_string()))
    };
    list.iter().map(read).collect()
}

fn read_rights(table: &Entry<'_>) -> Read<RightsTable> {
    let read = |entry: Entry<'_>| {
        let name = match entry.key {
            "" => None,
            text => Some(Name::new(text).map_err(|error| {
                let way_out = "write it from the root on, as a client would: \"projects/new\"; \"\" is the root";
                entry.wrong(&format!("{error}; {way_out}"))
            })?),
        };
        Ok((name, read_words(&entry)?))
    };
    table.entries("a table of names: { \"\" = \"r\", \"projects\" = \"rw\" }")?.map(read).collect()
}

fn read_words(entry: &Entry<'_>) -> Read<Rights> {
    const WANTED: &str = "rights in quotes, as \"r\" or \"list+add\", or a list of them";
    let rights = match entry.item {
        Item::Value(Value::String(text)) => Rights::parse(text.value()),
        Item::Value(Value::Array(list)) if list.is_empty() => return Err(entry.needs("rights: \"none\" for no right")),
        Item::Value(Value::Array(list)) => {
            let words: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            Rights::of_words(words.ok_or_else(|| entry.needs(WANTED))?)
        }
        _ => return Err(entry.needs(WANTED)),
    };
    rights.map_err(|error| entry.wrong_at(entry.item.span(), &error.to_string()))
}

/// A key of a table, and its value.
struct Entry<'a> {
    key: &'a str,
    item: &'a Item,
    /// The whole way to it, for people.
    path: String,
    at: usize,
}

fn entries<'a>(table: &'a dyn TableLike, path: &str) -> impl Iterator<Item = Entry<'a>> + use<'a> {
    let path = path.to_owned();
    table.iter().map(move |(key, item)| {
        let span = table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
        let shown = if is_bare(key) { key.to_owned() } else { format!("\"{key}\"") };
        let path = if path.is_empty() { shown } else { format!("{path}.{shown}") };
        Entry { key, item, path, at: span.map_or(0, |span| span.start) }
    })
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl<'a> Entry<'a> {
    fn entries(&self, wanted: &str) -> Read<impl Iterator<Item = Entry<'a>> + use<'a>> {
        let table = self.item.as_table_like().ok_or_else(|| self.needs(wanted))?;
        Ok(entries(table, &self.path))
    }

    fn string(&self, wanted: &str) -> Read<&'a str> {
        self.item.as_str().ok_or_else(|| self.needs(wanted))
    }

    /// Returns a whole number of at least `least`, as a number or with a unit of bytes.
    fn number(&self, least: u64) -> Read<u64> {
        let wanted = || self.needs(&format!("a whole number from {least} on, or a size as \"64MiB\""));
        let number = match self.item {
            Item::Value(Value::Integer(number)) => u64::try_from(*number.value()).ok(),
            Item::Value(Value::String(text)) => {
                let read = units::size(text.value());
                Some(read.map_err(|problem| self.wrong_at(self.item.span(), &problem))?)
            }
            _ => None,
        };
        let fits = number.filter(|number| (least..=i64::MAX as u64).contains(number));
        fits.ok_or_else(wanted)
    }

    fn needs(&self, wanted: &str) -> Problem {
        self.wrong_at(self.item.span(), &format!("it must be {wanted}"))
    }

    fn unknown(&self, known: &str) -> Problem {
        self.wrong(&format!("there is no such key: {known}"))
    }

    fn wrong(&self, why: &str) -> Problem {
        Problem { at: self.at, text: format!("{}: {why}", self.path) }
    }

    /// Returns the problem with a part of the entry, which may stand some lines below its key.
    fn wrong_at(&self, span: Option<Range<usize>>, why: &str) -> Problem {
        Problem { at: span.map_or(self.at, |span| span.start), ..self.wrong(why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";
    const TOKEN: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parse(text: &str) -> Result<Users, String> {
        Users::parse(text, Path::new("users.toml")).map_err(|error| error.to_string())
    }

    fn user(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn rights(users: &Users, who: Option<&str>, name: &str) -> String {
        let who = who.map(user);
        users.rights(who.as_ref()).of(Name::new(name).ok().as_ref()).to_string()
    }

    #[test]
    fn all_keys_are_read() {
        let text = format!(
            "# a comment\n[anonymous]\nrights = {{ \"\" = \"r\" }}\n\n[users.alice]\npassword = \"{HASH}\"\n\
             tokens = [\n  \"{TOKEN}\", # of the laptop\n]\n\
             rights = {{ \"\" = \"r\", \"projects\" = \"rw\", \"in box/ü\" = [\"add\", \"list\"] }}\n\
             max-clients = 4\nrate = \"10MiB\"\nmax-kept = 0\nmax-staged = \"1TiB\"\n\n\
             [users.\"b.o-b_9\"]\n[users.\"b.o-b_9\".rights]\n\"\" = \"drop\"\n"
        );
        let users = parse(&text).unwrap();
        assert!(users.may_log_in());
        assert_eq!(rights(&users, None, "a"), "r");
        assert_eq!(rights(&users, Some("alice"), "projects/x"), "rw");
        assert_eq!(rights(&users, Some("alice"), "in box/ü/x"), "list+add");
        assert_eq!(rights(&users, Some("b.o-b_9"), "x"), "add");
        assert_eq!(rights(&users, Some("mallory"), "x"), "none");
        let limits =
            UserLimits { max_clients: Some(4), rate: Some(10 << 20), max_kept: Some(0), max_staged: Some(1 << 40) };
        assert_eq!(users.limits(&user("alice")), limits);
        assert_eq!(users.limits(&user("b.o-b_9")), UserLimits::default());
        assert_eq!(users.secrets(&user("alice")), (true, &[TokenHash::parse(TOKEN).unwrap()][..]));
        assert_eq!(users.secrets(&user("b.o-b_9")), (false, &[][..]));
        assert_eq!(users.names(), [&user("alice"), &user("b.o-b_9")]);
    }

    #[test]
    fn every_way_that_toml_has_of_saying_a_table_means_the_same() {
        for text in [
            "[users.alice]\nrights = { \"a\" = \"rw\" }",
            "[users]\nalice = { rights = { a = \"rw\" } }",
            "users.alice.rights.a = \"rw\"",
            "[users.alice.rights]\na = [\"r\", \"w\"]",
            "users = { alice = { rights = { \"a\" = \"list+read+add+change\" } } }",
            "\u{feff}[users.alice]\r\nrights.a = 'rw'\r\n",
        ] {
            assert_eq!(rights(&parse(text).unwrap(), Some("alice"), "a/b"), "rw", "{text}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_permitted() {
        for text in ["", "[anonymous]", "[users]", "[users.alice]", "# nothing", "[users.alice]\nrights = {}"] {
            let users = parse(text).unwrap();
            assert!(users.may_log_in(), "{text}: the file is in use");
            assert_eq!(rights(&users, None, "a"), "none", "{text}");
            assert_eq!(rights(&users, Some("alice"), "a"), "none", "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_line_key_and_way_out() {
        let known = "a user has password, tokens, rights, max-clients";
        for (text, told) in [
            ("frob = 1", "users.toml:1: frob: there is no such key: the file has [anonymous] and [users.NAME]"),
            ("\n[user.alice]", "users.toml:2: user: there is no such key"),
            (
                "[anonymous]\n\npassword = \"x\"",
                "users.toml:3: anonymous.password: there is no such key: [anonymous] has",
            ),
            ("[users.alice]\nright = {}", &format!("users.toml:2: users.alice.right: there is no such key: {known}")),
            ("users = 1", "users.toml:1: users: it must be a table of users: [users.NAME]"),
            ("[[users]]\nname = \"x\"", "users.toml:1: users: it must be a table of users"),
            ("[users]\nalice = 1", "users.toml:2: users.alice: it must be a table"),
            ("\n[users.\"a b\"]", "users.toml:2: users.\"a b\": the name of a user is 1 to 64"),
            ("[users.\"\"]", "users.toml:1: users.\"\": the name of a user is 1 to 64"),
            ("[users.alice]\nrights = \"rw\"", "users.toml:2: users.alice.rights: it must be a table of names: { \"\""),
            ("[users.a]\nrights = { \"\" = \"rx\" }", "users.toml:2: users.a.rights.\"\": 'rx' is no right; write one"),
            ("[users.a]\nrights = { x = 1 }", "users.toml:2: users.a.rights.x: it must be rights in quotes"),
            ("[users.a]\nrights = { x = [] }", "users.toml:2: users.a.rights.x: it must be rights: \"none\" for no"),
            ("[users.a]\nrights = { x = [\"r\", 1] }", "users.toml:2: users.a.rights.x: it must be rights in quotes"),
            ("[users.a]\nrights = { x = [\n\"r\",\n\"frob\"] }", "users.toml:2: users.a.rights.x: 'frob' is no right"),
            ("[users.a]\nrights = { x = \"none+r\" }", "users.toml:2: users.a.rights.x: 'none' stands alone"),
            (
                "[users.a.rights]\nx = \"r\"\n\"a/../b\" = \"r\"",
                "users.toml:3: users.a.rights.\"a/../b\": a name has no component '.' or '..'; write it from the root on",
            ),
            ("[users.a.rights]\n\"/a\" = \"r\"", "users.toml:2: users.a.rights.\"/a\": a name is relative"),
            ("[users.a.rights]\n\"a/\" = \"r\"", "users.toml:2: users.a.rights.\"a/\": a name is relative"),
            ("[users.a.rights]\n\".ferry\" = \"r\"", "users.toml:2: users.a.rights.\".ferry\": names that begin with"),
            ("[users.a]\npassword = 1", "users.toml:2: users.a.password: it must be a hash in quotes"),
            ("[users.a]\npassword = \"hunter2\"", "users.toml:2: users.a.password: this is no password hash; make one"),
            ("[users.a]\npassword = \"$2b$12$x\"", "users.toml:2: users.a.password: hashes of kind '2b' are not known"),
            (
                "[users.a]\npassword = \"$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9\"",
                "users.toml:2: users.a.password: it costs too much: at most 256 MiB",
            ),
            ("[users.a]\ntokens = \"x\"", "users.toml:2: users.a.tokens: it must be a list of hashes"),
            ("[users.a]\ntokens = [\n\"x\"]", "users.toml:3: users.a.tokens: a token is kept as 'sha256:' and 64 hex"),
            ("[users.a]\nmax-clients = 0", "users.toml:2: users.a.max-clients: it must be a whole number from 1 on"),
            ("[users.a]\nrate = -1", "users.toml:2: users.a.rate: it must be a whole number from 1 on"),
            ("[users.a]\nrate = 1.5", "users.toml:2: users.a.rate: it must be a whole number"),
            ("[users.a]\nrate = \"10 Mb\"", "users.toml:2: users.a.rate: there is no unit 'Mb': give one of B, kB, MB"),
            ("[users.a]\nrate = \"0B\"", "users.toml:2: users.a.rate: it must be a whole number from 1 on"),
            ("[users.a]\nrate = \"9999999999GiB\"", "users.toml:2: users.a.rate: it is too large"),
            ("[users.a]\n[users.a]", "users.toml:2: duplicate key"),
            ("[users.a]\nrights = { \"x\" = \"r\", x = \"w\" }", "users.toml:2: duplicate key"),
            ("[users.a", "users.toml:1: "),
            ("a = \"\n", "users.toml:1: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(told), "{text:?}:\n{error}\n{told}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_what_stands_where_a_hash_should() {
        for key in
            ["password = \"hunter2\"", "password = \"$hunter2\"", "password = \"$hunter2!$\"", "tokens = [\"hunter2\"]"]
        {
            let error = parse(&format!("[users.a]\n{key}")).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let rate = |value: &str| {
            parse(&format!("[users.a]\nrate = {value}\n")).ok().and_then(|users| users.limits(&user("a")).rate)
        };
        for (text, bytes) in
            [("17", 17), ("\"17\"", 17), ("\"1KiB\"", 1024), ("\"1.5GiB\"", 3 << 29), ("\"1MB\"", 1_000_000)]
        {
            assert_eq!(rate(text), Some(bytes), "{text}");
        }
        for text in
            ["\"\"", "\"MiB\"", "-1", "\"-1\"", "\"1mib\"", "1.5", "\"18446744073709551616\"", "\"99999999TiB\""]
        {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
