//! Users, their rights and their secrets.
//!
//! The room is pure but for [`mod@file`], which reads the users file. Nothing in it looks at a clock or
//! a socket, and it knows neither store nor session.
//!
//! - [`Rights`] and [`RightsTable`] say what somebody may do with a name.
//! - [`decide`] is the gate: it tells, before anything is looked up, whether a request may go on.
//! - [`Users`] is the users file, read and checked as a whole.
//! - [`Secret`], [`PasswordHash`] and [`TokenHash`] keep what a user is known by.
//! - [`Logins`] says whose secret is checked next, and [`Delays`] makes guessing slow, by address.
//!
//! Denying is the default, and the answer to doubt.

mod delays;
mod failures;
pub mod file;
mod gate;
mod logins;
mod parse;
mod rights;
mod secrets;
mod table;
mod users;

pub use ferry_wire::{Secret, UserName};

pub use delays::Delays;
pub(crate) use delays::source;
pub use failures::failed_login;
pub use gate::{Decision, PublishRights, decide};
pub use logins::Logins;
pub use parse::UsersError;
pub use rights::{Rights, RightsError};
pub use secrets::{HashError, PasswordHash, TokenHash, random_token};
pub use table::{Place, RightsTable};
pub use users::{UserLimits, Users};
