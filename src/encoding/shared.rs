//! A part of a large value: owned by one value as a rule, by several while a snapshot or a copy
//! lives; copied before it is changed then.
//!
//! Invariant: the counted pointer inside never leaves, and nobody makes a weak one of it; so a count
//! of one means that nobody else can reach the part, nor begin to. Source: as `Arc::make_mut`,
//! without its two locked instructions, since parts are changed far more often than shared.
#![allow(unsafe_code)]

use std::fmt;
use std::iter::repeat_n;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// A counted pointer to a part.
pub struct Shared<T: ?Sized>(Arc<T>);

impl<T: ?Sized> Shared<T> {
    /// True if another value has it, too.
    #[inline]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) != 1
    }

    /// The part, to be changed if nobody else has it.
    #[inline]
    pub fn unshared_mut(&mut self) -> Option<&mut T> {
        if self.is_shared() {
            return None;
        }
        // What another owner did before it let go happened before what is done now.
        fence(Ordering::Acquire);
        // SAFETY: this is the only counted pointer, there are no weak ones, and `&mut self` keeps it
        // from being cloned for as long as the result lives. `as_ptr` keeps the allocation's
        // provenance.
        Some(unsafe { &mut *Arc::as_ptr(&self.0).cast_mut() })
    }
}

impl<T> Shared<T> {
    /// A part with one owner.
    pub fn new(part: T) -> Self {
        Shared(Arc::new(part))
    }

    /// The part if nobody else has it, taken out of its pointer.
    pub fn into_unshared(self) -> Option<T> {
        Arc::into_inner(self.0)
    }
}

impl<T: Clone> Shared<T> {
    /// The part, to be changed; copied before if another value has it.
    #[inline]
    pub fn change(&mut self) -> &mut T {
        if self.is_shared() {
            self.separate();
        }
        self.unshared_mut().expect("a fresh part is not shared")
    }

    #[cold]
    fn separate(&mut self) {
        *self = Shared::new(T::clone(&self.0));
    }
}

impl<T: Copy> Shared<[T]> {
    /// The part, to be changed; copied before if another value has it.
    #[inline]
    pub fn change(&mut self) -> &mut [T] {
        if self.is_shared() {
            *self = Shared(Arc::from(&*self.0));
        }
        self.unshared_mut().expect("a fresh part is not shared")
    }
}

impl<T> FromIterator<T> for Shared<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        Shared(parts.into_iter().collect())
    }
}

impl Shared<[u8]> {
    /// So many bytes of zero with one owner.
    pub fn zeroed(len: usize) -> Self {
        Shared(repeat_n(0, len).collect())
    }
}

impl Default for Shared<[u8]> {
    fn default() -> Self {
        Shared(Arc::default())
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_part_is_copied_before_it_is_changed() {
        let mut one = Shared::new(vec![1]);
        one.change().push(2);
        let address = std::ptr::from_ref::<Vec<i32>>(&one);
        assert_eq!(std::ptr::from_ref(one.change()), address, "changed in place");
        let mut two = one.clone();
        assert!(one.is_shared() && two.unshared_mut().is_none());
        two.change().push(3);
        assert_eq!((&*one, &*two), (&vec![1, 2], &vec![1, 2, 3]));
        assert!(!one.is_shared());
        assert_eq!(two.clone().into_unshared(), None);
        assert_eq!(two.into_unshared(), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_shared_slice_is_copied_before_it_is_changed() {
        let mut one: Shared<[u8]> = (0..3).collect();
        one.change()[0] = 7;
        let two = one.clone();
        one.change()[1] = 8;
        assert_eq!((&*one, &*two), (&[7, 8, 2][..], &[7, 1, 2][..]));
        assert!(!one.is_shared() && !two.is_shared());
    }
}
