//! The client of a session, and its rights.

use std::{fmt, sync::Arc};

use ferry_wire::{Code, Failure, Options, Request, Secret, Tag, UserName};

use crate::{
    access::{Decision, PublishRights, RightsTable, Users, decide},
    store::{ErrorKind, Onto, Owner, StoreError, SystemError},
    units::counted,
};

/// Logins that may fail on one connection; the last one closes it.
const FAILED_LOGINS: u8 = 3;

/// The client of a session: the user who has logged in on it, and the rights that follow.
#[derive(Debug)]
pub struct Visitor {
    users: Arc<Users>,
    /// [`None`] until somebody has logged in.
    named: Option<Box<Named>>,
    /// The request that is carried out is nobody's, though somebody has logged in.
    is_nobody: bool,
    failed_logins: u8,
    /// Nobody on the way can read a secret: by TLS, or within the machine.
    is_private: bool,
    /// It is on this machine, and speaks without TLS.
    is_within: bool,
}

/// A user who has logged in.
#[derive(Debug)]
struct Named {
    user: UserName,
    /// The owner of its uploads.
    owner: Owner,
    /// As the users file has them now.
    rights: Arc<RightsTable>,
}

/// A login to be checked: never on the loop.
pub struct Login {
    /// The user.
    pub user: UserName,
    /// The password or token.
    pub secret: Secret,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login of {}", self.user)
    }
}

/// The outcome of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The secret is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// It could not be checked.
    Busy,
    /// It is, and the user has as many clients as may be already.
    Full {
        /// How many may be.
        most: usize,
    },
}

/// The terms on which an upload gets its name.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    pub(super) onto: Onto,
    /// The client itself has asked for a free name, or for a taken one.
    is_asked: bool,
}

impl Terms {
    /// Returns the same, for a client that asks for a name that is taken.
    pub(super) fn only_taken(self) -> Result<Terms, Failure> {
        self.replacing(Onto::Taken)
    }

    /// Returns the same, for a client that has looked at what is there: nothing but this version, which is [`None`] where
    /// nothing has the name, may be there when the upload gets it.
    pub(super) fn only_seen(self, version: Option<Tag>) -> Result<Terms, Failure> {
        match (version, &self.onto) {
            (Some(tag), _) => self.replacing(Onto::Version(tag)),
            (None, Onto::Any | Onto::Free) => Ok(Terms { onto: Onto::Free, is_asked: true }),
            (None, _) => Ok(self),
        }
    }

    fn replacing(self, onto: Onto) -> Result<Terms, Failure> {
        match self.onto {
            Onto::Free => Err(denied("you may add here, and not replace anything")),
            _ => Ok(Terms { onto, is_asked: true }),
        }
    }

    /// Returns the reply to an upload that failed with `error`. A user who may only add is not told
    /// what has the name.
    pub(super) fn told(&self, error: StoreError) -> Failure {
        let is_taken = matches!(
            error.kind,
            ErrorKind::NameTaken | ErrorKind::System(SystemError::IsDirectory | SystemError::IsSpecial)
        );
        match &self.onto {
            Onto::Free if is_taken && !self.is_asked => denied("you may add here, and not replace anything"),
            Onto::Free if is_taken => StoreError { kind: ErrorKind::NameTaken, ..error }.into(),
            Onto::Taken if self.is_asked && error.kind == ErrorKind::NameFree => {
                StoreError { kind: ErrorKind::System(SystemError::NotFound), ..error }.into()
            }
            _ => error.into(),
        }
    }
}

impl Visitor {
    /// Returns a client that has not logged in; `is_private` where no secret of it can be read on its way.
    #[must_use]
    pub fn new(users: Arc<Users>, is_private: bool) -> Visitor {
        Visitor { users, named: None, is_nobody: false, failed_logins: 0, is_private, is_within: false }
    }

    /// Returns the same, on this machine and without TLS.
    #[must_use]
    pub fn within_this_machine(self) -> Visitor {
        Visitor { is_within: true, ..self }
    }

    /// Returns whether it is on this machine, and without TLS.
    pub(super) fn is_within_this_machine(&self) -> bool {
        self.is_within
    }

    /// Returns the user who has logged in.
    pub(super) fn user(&self) -> Option<&UserName> {
        self.named.as_ref().map(|named| &named.user)
    }

    /// Has requests from here on be nobody's, or those of the user who has logged in.
    pub(super) fn act_as_nobody(&mut self, is_nobody: bool) {
        self.is_nobody = is_nobody;
    }

    fn acts_as(&self) -> Option<&Named> {
        self.named.as_deref().filter(|_| !self.is_nobody)
    }

    /// Returns whether nobody else can read what is sent: by TLS, or on this machine.
    pub(super) fn is_private(&self) -> bool {
        self.is_private
    }

    /// Returns the user whose request is carried out.
    pub(super) fn acting(&self) -> Option<&UserName> {
        self.acts_as().map(|named| &named.user)
    }

    /// Returns whether nobody acts, and could do so as a user here.
    pub(super) fn is_to_log_in(&self) -> bool {
        self.acts_as().is_none() && self.refusal().is_none()
    }

    /// Returns whether there are users who can log in.
    pub(super) fn may_log_in(&self) -> bool {
        self.users.may_log_in()
    }

    /// Sets the users that hold from here on.
    pub(super) fn set_users(&mut self, users: &Arc<Users>) {
        if let Some(named) = &mut self.named {
            named.rights = users.rights(Some(&named.user)).clone();
        }
        self.users = users.clone();
    }

    /// Lets `request` pass, or returns why not. Nothing has been looked up for it.
    pub(super) fn pass(&self, request: &Request, options: Options) -> Result<Terms, Failure> {
        let decision = decide(request, self.rights());
        if let (Decision::Publish(rights), Some(tag)) = (decision, options.if_tag) {
            return match rights.permit(true) {
                true => Ok(Terms { onto: Onto::Version(tag), is_asked: true }),
                false => Err(self.denied()),
            };
        }
        match (decision, options.if_none) {
            (Decision::Allowed, _) => Ok(Terms::default()),
            (Decision::Publish(PublishRights::Any), false) => Ok(Terms::default()),
            (Decision::Publish(PublishRights::Any | PublishRights::AddOnly), is_asked) => {
                Ok(Terms { onto: Onto::Free, is_asked })
            }
            (Decision::Publish(PublishRights::ChangeOnly), false) => Ok(Terms { onto: Onto::Taken, is_asked: false }),
            (Decision::Publish(PublishRights::ChangeOnly), true) | (Decision::Denied, _) => Err(self.denied()),
        }
    }

    fn denied(&self) -> Failure {
        match self.acts_as() {
            None if self.may_log_in() => denied("you may not do that; log in first"),
            _ => denied("you may not do that"),
        }
    }

    /// Returns the rights of now.
    pub(super) fn rights(&self) -> &Arc<RightsTable> {
        self.acts_as().map_or_else(|| self.users.rights(None), |named| &named.rights)
    }

    /// Returns the owner of uploads that the client begins; nobody where it has not logged in.
    pub(super) fn owner(&self) -> Owner {
        self.acts_as().map_or(Owner::NOBODY, |named| named.owner.clone())
    }

    /// Returns why a login is not even checked, where that is so.
    pub(super) fn refusal(&self) -> Option<Failure> {
        if !self.may_log_in() {
            return Some(Failure::new(Code::Unsupported, "this server has no accounts"));
        }
        let open = "this connection is open to others on its way: log in by TLS only";
        (!self.is_private).then(|| denied(open))
    }

    /// Takes the outcome of a login. Returns the failure to tell, and whether the connection is to
    /// be closed.
    pub(super) fn login_ended(&mut self, user: UserName, outcome: LoginOutcome) -> Result<(), (Failure, bool)> {
        match outcome {
            LoginOutcome::Right => {
                let (rights, owner) = (self.users.rights(Some(&user)).clone(), Owner::of_user(user.as_str()));
                self.named = Some(Box::new(Named { user, owner, rights }));
                Ok(())
            }
            LoginOutcome::Wrong => {
                self.failed_logins += 1;
                Err((denied("no such user, or another secret"), self.failed_logins >= FAILED_LOGINS))
            }
            LoginOutcome::Busy => {
                Err((Failure::new(Code::Busy, "too many logins are being checked; try again later"), false))
            }
            LoginOutcome::Full { most } => {
                let all = counted(most as u64, "connection");
                let message = format!("{user} is logged in on {all}, as many as may be; close one of them");
                Err((Failure::new(Code::Busy, message), false))
            }
        }
    }
}

fn denied(message: &'static str) -> Failure {
    Failure::new(Code::Denied, message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ferry_wire::{Name, Tag};

    use super::*;

    fn users(rights: &str) -> Arc<Users> {
        let text = format!("[users.alice]\nrights = {rights}\n");
        Arc::new(Users::parse(&text, Path::new("users.toml")).unwrap())
    }

    fn alice() -> UserName {
        UserName::new("alice").unwrap()
    }

    fn put() -> Request {
        Request::Put { size: None, mtime: None, name: Name::new("a").unwrap() }
    }

    #[test]
    fn no_secret_is_taken_in_the_open_or_where_there_are_no_users() {
        let code = |visitor: &Visitor| visitor.refusal().map(|failure| failure.code);
        assert_eq!(code(&Visitor::new(users("{}"), false)), Some(Code::Denied));
        assert_eq!(code(&Visitor::new(users("{}"), true)), None);
        assert_eq!(code(&Visitor::new(Arc::new(Users::without_file()), true)), Some(Code::Unsupported));
    }

    #[test]
    fn the_third_failure_closes_and_what_could_not_be_checked_is_none() {
        let mut visitor = Visitor::new(users("{}"), true);
        use LoginOutcome::*;
        let closes = [Wrong, Busy, Right, Wrong, Busy, Wrong].map(|outcome| {
            let ended = visitor.login_ended(alice(), outcome);
            ended.err().map(|(failure, closes)| (failure.code, closes))
        });
        let (wrong, busy) = (Some((Code::Denied, false)), Some((Code::Busy, false)));
        assert_eq!(closes, [wrong, busy, None, wrong, busy, Some((Code::Denied, true))]);
        assert_eq!(visitor.user(), Some(&alice()));
    }

    #[test]
    fn an_upload_is_published_on_the_terms_of_its_rights_and_of_its_options() {
        let if_none = Options { if_none: true, ..Options::default() };
        let tag = Tag::new("t").unwrap();
        let if_tag = Options { if_tag: Some(tag.clone()), ..Options::default() };
        for (rights, options, expected) in [
            ("rw", Options::default(), Some((Onto::Any, Code::NotAFile))),
            ("rw", if_none.clone(), Some((Onto::Free, Code::Exists))),
            ("add", Options::default(), Some((Onto::Free, Code::Denied))),
            ("add", if_none.clone(), Some((Onto::Free, Code::Exists))),
            ("change", Options::default(), Some((Onto::Taken, Code::NotAFile))),
            ("change", if_none, None),
            ("rw", if_tag.clone(), Some((Onto::Version(tag.clone()), Code::NotAFile))),
            ("change", if_tag.clone(), Some((Onto::Version(tag), Code::NotAFile))),
            ("add", if_tag, None),
            ("r", Options::default(), None),
        ] {
            let mut visitor = Visitor::new(users(&format!("{{ \"a\" = \"{rights}\" }}")), true);
            assert!(visitor.pass(&put(), options.clone()).is_err(), "nobody has logged in");
            visitor.login_ended(alice(), LoginOutcome::Right).unwrap();
            let is_directory = || StoreError::at("a", ErrorKind::System(SystemError::IsDirectory));
            let terms = visitor.pass(&put(), options).ok();
            assert_eq!(terms.map(|terms| (terms.onto.clone(), terms.told(is_directory()).code)), expected, "{rights}");
        }
    }

    #[test]
    fn a_user_who_is_gone_may_do_nothing_and_one_who_comes_back_what_holds_now() {
        let mut visitor = Visitor::new(users("{ \"\" = \"rw\" }"), true);
        visitor.login_ended(alice(), LoginOutcome::Right).unwrap();
        let may = |visitor: &Visitor| visitor.pass(&put(), Options::default()).is_ok();
        assert!(may(&visitor));
        let empty = Arc::new(Users::parse("[anonymous]\nrights = { \"\" = \"rw\" }\n", Path::new("u")).unwrap());
        visitor.set_users(&empty);
        assert!(!may(&visitor));
        visitor.set_users(&users("{ \"a\" = \"add\" }"));
        assert!(may(&visitor));
    }
}
