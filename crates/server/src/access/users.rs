//! The users of a server, as their file says.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use ferry_wire::{Secret, UserName};

use super::{HashError, PasswordHash, Rights, RightsTable, TokenHash};

/// Limits of one user, in place of the server's; [`None`] where the server's hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Clients that are logged in at one time.
    pub max_clients: Option<u64>,
    /// Bytes a second that all clients of the user together may move, both ways.
    pub rate: Option<u64>,
    /// Uploads that are known under the id of a RESUME.
    pub max_kept: Option<u64>,
    /// Bytes that uploads may hold on the disk before they have their names.
    pub max_staged: Option<u64>,
}

/// One user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) password: Option<PasswordHash>,
    pub(super) tokens: Vec<TokenHash>,
    pub(super) rights: Arc<RightsTable>,
    pub(super) limits: UserLimits,
}

/// All users that a server knows, and the rights of each.
///
/// It never changes: a reload reads the file into another one, and replaces this one as a whole.
#[derive(Debug)]
pub struct Users {
    /// The rights of clients that have not logged in.
    anonymous: Arc<RightsTable>,
    accounts: HashMap<UserName, Account>,
    /// The rights of a user who is not there any more.
    nobody: Arc<RightsTable>,
    /// Hashes to check where a user has none, so that it takes as long; at least one.
    stand_ins: Vec<PasswordHash>,
    choice: RandomState,
    from_file: bool,
}

impl Users {
    /// Returns the users where no users file is in use: nobody can log in, and everybody has all
    /// rights, as far as the server takes changes at all.
    #[must_use]
    pub fn without_file() -> Users {
        let users = Users::new(RightsTable::everywhere(Rights::ALL), HashMap::new());
        Users { from_file: false, ..users }
    }

    pub(super) fn new(anonymous: RightsTable, accounts: HashMap<UserName, Account>) -> Users {
        let mut stand_ins: Vec<_> = accounts.values().filter_map(|account| account.password.clone()).collect();
        if stand_ins.is_empty() {
            stand_ins.push(PasswordHash::of_nobody());
        }
        Users {
            anonymous: Arc::new(anonymous),
            accounts,
            nobody: Arc::default(),
            stand_ins,
            choice: RandomState::new(),
            from_file: true,
        }
    }

    /// Returns whether there is a users file, so that a client may log in.
    #[must_use]
    pub fn may_log_in(&self) -> bool {
        self.from_file
    }

    /// Returns the rights of `user`, or of clients that have not logged in. A user who is not there
    /// has none.
    #[must_use]
    pub fn rights(&self, user: Option<&UserName>) -> &Arc<RightsTable> {
        match user {
            None => &self.anonymous,
            Some(user) => self.accounts.get(user).map_or(&self.nobody, |account| &account.rights),
        }
    }

    /// Returns the limits that `user` has in place of the server's.
    #[must_use]
    pub fn limits(&self, user: &UserName) -> UserLimits {
        self.accounts.get(user).map(|account| account.limits).unwrap_or_default()
    }

    /// Returns whether `secret` is the password or a token of `user`.
    ///
    /// It takes memory and time (see [`PasswordHash`]): never call it on the loop, nor more than
    /// twice at one time. A refusal takes as long for a user who is not there, or who has no
    /// password, as for one who has. It then checks the hash of another user, always the same one
    /// for one name.
    ///
    /// # Errors
    ///
    /// Where the system has no memory for it; that says nothing of the secret.
    pub fn check(&self, user: &UserName, secret: &Secret) -> Result<bool, HashError> {
        let account = self.accounts.get(user);
        let tokens = account.map(|account| account.tokens.as_slice()).unwrap_or_default();
        if TokenHash::of(secret).is_among(tokens) {
            return Ok(true);
        }
        let password = account.and_then(|account| account.password.as_ref());
        let fits = password.unwrap_or_else(|| self.stand_in(user)).fits(secret)?;
        Ok(fits && password.is_some())
    }

    /// Returns a hash that costs as much as a user's could.
    fn stand_in(&self, user: &UserName) -> &PasswordHash {
        let at = self.choice.hash_one(user) % self.stand_ins.len() as u64;
        // The remainder is smaller than a usize.
        &self.stand_ins[at as usize]
    }

    /// Returns the first user, in the order of names, with a rule that
    /// [narrows](RightsTable::narrows) what another gives, and the name in that rule; the user is
    /// [`None`] for clients that have not logged in.
    #[must_use]
    pub fn narrows(&self) -> Option<(Option<&UserName>, String)> {
        let of_anonymous = self.anonymous.narrows().map(|name| (None, name));
        let named = || {
            let narrow = |(user, account): (_, &Account)| Some((Some(user), account.rights.narrows()?));
            self.accounts.iter().filter_map(narrow).min()
        };
        of_anonymous.or_else(named)
    }

    /// Returns whether nobody can do anything: nobody can log in, and there are no rights without a
    /// login.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let has_secret = |account: &Account| account.password.is_some() || !account.tokens.is_empty();
        let has_rights = self.anonymous.entries().iter().any(|(_, rights)| !rights.is_none());
        !has_rights && !self.accounts.values().any(has_secret)
    }

    /// Returns the users, in the order of their names.
    #[must_use]
    pub fn names(&self) -> Vec<&UserName> {
        let mut names: Vec<_> = self.accounts.keys().collect();
        names.sort();
        names
    }

    /// Returns whether `user` has a password, and the hashes of the tokens.
    #[must_use]
    pub fn secrets(&self, user: &UserName) -> (bool, &[TokenHash]) {
        let account = self.accounts.get(user);
        account.map_or((false, &[]), |account| (account.password.is_some(), &account.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::from_bytes(text.as_bytes()).unwrap()
    }

    /// A hash that is quick to check, of the secret "password".
    const QUICK: &str = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";

    fn users(accounts: &[(&str, Option<&str>, &[&str])]) -> Users {
        let account = |(name, password, tokens): &(&str, Option<&str>, &[&str])| {
            let password = password.map(|text| PasswordHash::parse(text).unwrap());
            let tokens = tokens.iter().map(|token| TokenHash::of(&secret(token))).collect();
            (user(name), Account { password, tokens, ..Account::default() })
        };
        Users::new(RightsTable::default(), accounts.iter().map(account).collect())
    }

    #[test]
    fn password_and_tokens_of_a_user_are_that_users_alone() {
        let users = users(&[
            ("alice", Some(QUICK), &["token of alice", "another"]),
            ("bob", None, &["token of bob"]),
            ("carol", None, &[]),
        ]);
        for (name, text, expected) in [
            ("alice", "password", true),
            ("alice", "token of alice", true),
            ("alice", "another", true),
            ("alice", "token of bob", false),
            ("alice", "Password", false),
            ("bob", "token of bob", true),
            // The stand-in is the hash of alice's password.
            ("bob", "password", false),
            ("carol", "password", false),
            ("Alice", "password", false),
            ("mallory", "password", false),
            ("mallory", "token of alice", false),
        ] {
            assert_eq!(users.check(&user(name), &secret(text)), Ok(expected), "{name} {text}");
        }
        // The hash in the file is no secret by which to log in.
        assert_eq!(users.check(&user("alice"), &secret(QUICK)), Ok(false));
        let hash = TokenHash::of(&secret("another")).to_string();
        assert_eq!(users.check(&user("alice"), &secret(&hash)), Ok(false));
    }

    #[test]
    fn who_is_not_there_costs_what_a_user_could_and_always_the_same() {
        let slower = PasswordHash::make(&secret("x")).unwrap();
        let users = users(&[("alice", Some(QUICK), &[]), ("bob", Some(&slower), &[])]);
        let stand_in = |name: &str| users.stand_in(&user(name));
        let names: Vec<_> = (0..64).map(|at| format!("user{at}")).collect();
        assert!(names.iter().all(|name| std::ptr::eq(stand_in(name), stand_in(name))));
        let of_alice = names.iter().filter(|name| *stand_in(name) == PasswordHash::parse(QUICK).unwrap()).count();
        assert!((1..64).contains(&of_alice), "{of_alice} of 64 cost as alice does");
        let nobody = Users::new(RightsTable::default(), HashMap::new());
        assert_eq!(*nobody.stand_in(&user("a")), PasswordHash::of_nobody());
    }

    #[test]
    fn a_wrong_secret_costs_one_hash_of_one_kind_whoever_is_named() {
        let users = users(&[("alice", Some(QUICK), &["token of alice"]), ("bob", None, &["token of bob"])]);
        for (name, text) in [("alice", "wrong"), ("bob", "wrong"), ("mallory", "wrong"), ("mallory", "password")] {
            PasswordHash::made();
            assert_eq!(users.check(&user(name), &secret(text)), Ok(false));
            assert_eq!(PasswordHash::made(), [(32, 1, 1)], "{name} {text}");
        }
    }

    #[test]
    fn a_file_by_which_nobody_can_do_anything_is_told_from_others() {
        for (text, is_idle) in [
            ("", true),
            ("[users.alice]\nrights = { \"\" = \"rw\" }\n", true),
            ("[anonymous]\nrights = { \"\" = \"none\" }\n", true),
            ("[anonymous]\nrights = { \"\" = \"none\", \"a\" = \"list\" }\n", false),
            (&*format!("[users.alice]\npassword = \"{QUICK}\"\n"), false),
        ] {
            let users = Users::parse(text, std::path::Path::new("users.toml")).unwrap();
            assert_eq!(users.is_idle(), is_idle, "{text}");
        }
        assert!(!Users::without_file().is_idle());
    }

    #[test]
    fn without_a_file_everything_is_as_before_and_with_one_nothing_is_permitted_by_itself() {
        let open = Users::without_file();
        assert!(!open.may_log_in() && open.rights(None).of(None) == Rights::ALL);
        assert_eq!(open.check(&user("alice"), &secret("x")), Ok(false));
        let closed = users(&[("alice", Some(QUICK), &[])]);
        assert!(closed.may_log_in() && closed.rights(None).of(None).is_none());
        assert!(closed.rights(Some(&user("alice"))).of(None).is_none());
        // A user named so is not a client that has not logged in.
        assert!(open.rights(Some(&user("gone"))).of(None).is_none());
    }
}
