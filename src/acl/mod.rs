//! Access control: who may log in, and what each user may run and touch.
//!
//! Invariant: knows commands by their names, numbers and categories only (`catalogue`); a registry
//! of users (`users`) never changes, a change makes another one that takes its place whole. What a
//! user is allowed is asked here; which keys a request names is not known here.
//!
//! Way in: `user` and `selector` (what is held), `rules` (the language of ACL SETUSER), `text` (the
//! same, written), `users` (the registry), `log` (who was refused). Source: the ACL page of Redis
//! 8.0, and of Valkey 9.1 for databases.

pub mod catalogue;
pub mod file;
pub mod log;
pub mod password;
pub mod rules;
pub mod selector;
mod text;
pub mod user;
pub mod users;

pub use catalogue::{Catalogue, Entry};
pub use log::{Denial, Denied, Log, Reason};
pub use rules::{Defaults, RuleError, SetUserError};
pub use selector::{KeyNeed, Selector};
pub use user::User;
pub use users::{UserRef, Users};
