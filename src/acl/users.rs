//! The registry: every user by name, and by the small number that sessions keep of it.
//!
//! Invariant: a registry never changes; one made from another keeps the numbers of the users that
//! are in both, and no number ever means another user, since a place that is used again has another
//! generation. The user `default` is always there, at place 0.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::rules::{Defaults, SetUserError, apply_all};
use super::user::User;

/// The name of the user that a new connection has.
pub const DEFAULT_NAME: &[u8] = b"default";

/// Which user a session is logged in as. Small, and copied with every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRef {
    place: u32,
    generation: u32,
}

impl UserRef {
    /// The user `default`.
    pub const DEFAULT: UserRef = UserRef { place: 0, generation: 0 };
    /// No user at all.
    pub const NOBODY: UserRef = UserRef { place: u32::MAX, generation: u32::MAX };
}

/// A user in the registry.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: Arc<[u8]>,
    /// What sessions keep of it.
    pub id: UserRef,
    /// What it may do.
    pub user: Arc<User>,
    /// One of its selectors allows all there is.
    pub unrestricted: bool,
}

/// Every user.
#[derive(Clone, Debug)]
pub struct Users {
    catalogue: &'static Catalogue,
    by_name: BTreeMap<Arc<[u8]>, u32>,
    places: Vec<Option<Named>>,
    generations: u32,
}

impl Users {
    /// Only the user `default`, who needs no password and may do everything.
    pub fn new(catalogue: &'static Catalogue) -> Users {
        let empty =
            Users { catalogue, by_name: BTreeMap::new(), places: Vec::new(), generations: 0 };
        let rules: [&[u8]; 5] = [b"+@all", b"~*", b"&*", b"on", b"nopass"];
        let user = User::new(catalogue, Defaults::default());
        match empty.with_rules(DEFAULT_NAME, user, &rules, Defaults::default()) {
            Ok(users) => users,
            Err(error) => unreachable!("rules of our own: {error:?}"),
        }
    }

    /// The commands that its rules speak of.
    pub fn catalogue(&self) -> &'static Catalogue {
        self.catalogue
    }

    /// The user that a session is logged in as. None if that one has been deleted.
    #[inline]
    pub fn get(&self, id: UserRef) -> Option<&Named> {
        let named = self.places.get(id.place as usize)?.as_ref()?;
        (named.id == id).then_some(named)
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&Named> {
        let place = self.by_name.get(name)?;
        self.places[*place as usize].as_ref()
    }

    /// The user `default`.
    pub fn default_user(&self) -> &Named {
        self.places[0].as_ref().expect("the default user is never deleted")
    }

    /// Every user, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Named> {
        self.by_name.values().filter_map(|place| self.places[*place as usize].as_ref())
    }

    /// How many users there are; one at least.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// True if a new connection need not log in.
    #[inline]
    pub fn is_open(&self) -> bool {
        let user = &self.default_user().user;
        user.has_nopass() && user.is_enabled()
    }

    /// Whose commands pass without being looked at: `default`, if it needs no password and may do
    /// everything; else nobody.
    pub fn free_pass(&self) -> UserRef {
        let default = self.default_user();
        if self.is_open() && default.unrestricted { default.id } else { UserRef::NOBODY }
    }

    /// The user who may log in with this name and password.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Named> {
        self.find(name).filter(|named| named.user.accepts(password))
    }

    /// The registry in which rules have changed a user, or made a new one.
    pub fn set_user(
        &self,
        name: &[u8],
        rules: &[&[u8]],
        defaults: Defaults,
    ) -> Result<Users, SetUserError> {
        let user = match self.find(name) {
            Some(named) => User::clone(&named.user),
            None => User::new(self.catalogue, defaults),
        };
        self.with_rules(name, user, rules, defaults)
    }

    /// The registry in which the password of `default` is `requirepass`; none if that is empty.
    #[must_use]
    pub fn require_password(&self, password: &[u8]) -> Users {
        let secret = [b">", password].concat();
        let rule: &[u8] = if password.is_empty() { b"nopass" } else { &secret };
        let set = self.set_user(DEFAULT_NAME, &[b"resetpass", rule], Defaults::default());
        set.unwrap_or_else(|error| unreachable!("rules of our own: {error:?}"))
    }

    /// The registry without these users, and how many of them there were. `default` stays.
    pub fn delete(&self, names: &[&[u8]]) -> (Users, u64) {
        let mut users = self.clone();
        let mut deleted = 0;
        for name in names.iter().filter(|name| **name != DEFAULT_NAME) {
            if let Some(place) = users.by_name.remove(*name) {
                users.places[place as usize] = None;
                deleted += 1;
            }
        }
        (users, deleted)
    }

    /// The registry that holds these users alone; those that this one has, too, keep their numbers.
    /// Without a user `default` there is that of a new server.
    #[must_use]
    pub fn replace(&self, users: Vec<(Vec<u8>, User)>) -> Users {
        let kept = |name: &[u8]| users.iter().any(|(one, _)| one == name);
        let gone: Vec<&[u8]> =
            self.by_name.keys().map(|name| &**name).filter(|name| !kept(name)).collect();
        let (mut new, _) = self.delete(&gone);
        if !kept(DEFAULT_NAME) {
            let fresh = Users::new(self.catalogue);
            new.insert(DEFAULT_NAME, User::clone(&fresh.default_user().user));
        }
        for (name, user) in users {
            new.insert(&name, user);
        }
        new
    }

    fn with_rules(
        &self,
        name: &[u8],
        mut user: User,
        rules: &[&[u8]],
        defaults: Defaults,
    ) -> Result<Users, SetUserError> {
        apply_all(&mut user, rules, self.catalogue, defaults)?;
        let mut users = self.clone();
        users.insert(name, user);
        Ok(users)
    }

    fn insert(&mut self, name: &[u8], user: User) {
        let unrestricted = user.is_unrestricted(self.catalogue);
        let user = Arc::new(user);
        if let Some(place) = self.by_name.get(name)
            && let Some(named) = &mut self.places[*place as usize]
        {
            (named.user, named.unrestricted) = (user, unrestricted);
            return;
        }
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        if free == self.places.len() {
            self.places.push(None);
        }
        let id = UserRef { place: free as u32, generation: self.generations };
        self.generations = self.generations.wrapping_add(1);
        let name: Arc<[u8]> = name.into();
        self.by_name.insert(name.clone(), id.place);
        self.places[free] = Some(Named { name, id, user, unrestricted });
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::catalogue;
    use super::*;

    fn set(users: &Users, name: &[u8], rules: &[&[u8]]) -> Users {
        users.set_user(name, rules, Defaults::default()).expect("good rules")
    }

    #[test]
    fn a_new_registry_lets_everybody_do_everything() {
        let users = Users::new(catalogue());
        assert!(users.is_open());
        assert_eq!(users.default_user().id, UserRef::DEFAULT);
        assert_eq!(users.free_pass(), UserRef::DEFAULT);
        for rule in [&b"off"[..], b">secret", b"-get", b"resetkeys", b"resetchannels", b"db=1"] {
            let changed = set(&users, DEFAULT_NAME, &[rule]);
            assert_eq!(changed.free_pass(), UserRef::NOBODY, "{}", rule.escape_ascii());
        }
    }

    #[test]
    fn a_number_never_means_another_user() {
        let users = set(&Users::new(catalogue()), b"alice", &[b"on"]);
        let alice = users.find(b"alice").expect("she is there").id;
        let changed = set(&users, b"alice", &[b">x"]);
        assert_eq!(changed.find(b"alice").map(|named| named.id), Some(alice));
        let (gone, deleted) = changed.delete(&[b"alice", b"bob", b"default"]);
        assert_eq!((deleted, gone.count()), (1, 1));
        assert!(gone.get(alice).is_none());
        let again = set(&gone, b"alice", &[]);
        assert!(again.get(alice).is_none());
        assert_ne!(again.find(b"alice").map(|named| named.id), Some(alice));
    }

    #[test]
    fn replacing_keeps_the_numbers_of_those_who_stay() {
        let users = set(&set(&Users::new(catalogue()), b"a", &[]), b"b", &[]);
        let (a, b) = (users.find(b"a").expect("a").id, users.find(b"b").expect("b").id);
        let user = User::clone(&users.find(b"b").expect("b").user);
        let new = users.replace(vec![(b"b".to_vec(), user)]);
        assert!(new.get(a).is_none());
        assert!(new.get(b).is_some());
        assert_eq!(new.default_user().id, UserRef::DEFAULT);
    }

    #[test]
    fn requirepass_is_the_password_of_default() {
        let users = Users::new(catalogue()).require_password(b"secret");
        assert!(!users.is_open());
        assert!(users.authenticate(b"default", b"secret").is_some());
        assert!(users.authenticate(b"default", b"").is_none());
        assert!(users.authenticate(b"nobody", b"secret").is_none());
        assert!(users.require_password(b"").is_open());
    }
}
