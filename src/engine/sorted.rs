//! A map and a set as sorted lists: always walked in the order of their keys, so that equal inputs give equal outputs.
//!
//! The standard library's trees cost the wasm about 10 kB a type (with the sorts that build them; measured), and what they
//! are quicker at does not happen here: these lists are small, or grow at their end. What is large is looked up in a hash
//! map, and never walked.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sorts, with equal ones in any order. A heap sort: the standard library's sorts are about 3 kB for each type, this one less than 300
/// bytes, and takes two to three times as long.
pub(crate) fn sort_by<T>(things: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let sink = |things: &mut [T], mut parent: usize| {
        loop {
            let mut child = 2 * parent + 1;
            if child + 1 < things.len() && compare(&things[child], &things[child + 1]).is_lt() {
                child += 1;
            }
            if child >= things.len() || compare(&things[parent], &things[child]).is_ge() {
                return;
            }
            things.swap(parent, child);
            parent = child;
        }
    };
    for parent in (0..things.len() / 2).rev() {
        sink(things, parent);
    }
    for end in (1..things.len()).rev() {
        things.swap(0, end);
        sink(&mut things[..end], 0);
    }
}

/// Sorts by the things' own order.
pub(crate) fn sort<T: Ord>(things: &mut [T]) {
    sort_by(things, T::cmp);
}

/// Named things, in the order of their names (by code point).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T>(Vec<(String, T)>);

impl<T> Named<T> {
    /// Makes an empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true when there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        // What comes in order is put at the end, without a search.
        match self.0.last() {
            Some((last, _)) if last.as_str() >= name => self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)),
            Some(_) | None => Err(self.0.len()),
        }
    }

    /// Returns what has a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.find(name).ok().map(|at| &mut self.0[at].1)
    }

    /// Returns true when something has a name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Gives something a name. Returns what had it before.
    pub fn insert(&mut self, name: String, thing: T) -> Option<T> {
        match self.find(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, thing)),
            Err(at) => {
                self.0.insert(at, (name, thing));
                None
            }
        }
    }

    /// Takes out what has a name.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Walks over names and things.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&String, &T)> + Clone {
        self.0.iter().map(|(name, thing)| (name, thing))
    }

    /// Walks over the names.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &String> + Clone {
        self.0.iter().map(|(name, _)| name)
    }

    /// Walks over the things, to change them.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, thing)| thing)
    }

    /// Walks over the things.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.0.iter().map(|(_, thing)| thing)
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<Vec<(String, T)>> for Named<T> {
    /// Takes them in any order; the last of those of one name stays. They are sorted once: put in one by one, many that
    /// come in descending order would each move all the others.
    fn from(things: Vec<(String, T)>) -> Self {
        if things.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Self(things);
        }
        let mut numbered: Vec<(usize, (String, T))> = things.into_iter().enumerate().collect();
        sort_by(&mut numbered, |(at, (one, _)), (other_at, (other, _))| one.cmp(other).then(other_at.cmp(at)));
        numbered.dedup_by(|(_, (next, _)), (_, (kept, _))| next == kept);
        Self(numbered.into_iter().map(|(_, thing)| thing).collect())
    }
}

impl<T> Extend<(String, T)> for Named<T> {
    fn extend<I: IntoIterator<Item = (String, T)>>(&mut self, more: I) {
        let mut older = std::mem::take(&mut self.0).into_iter().peekable();
        for (name, thing) in more.into_iter().collect::<Self>() {
            while let Some(before) = older.next_if(|(known, _)| *known < name) {
                self.0.push(before);
            }
            older.next_if(|(known, _)| *known == name);
            self.0.push((name, thing));
        }
        self.0.extend(older);
    }
}

impl<T> FromIterator<(String, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(things: I) -> Self {
        Self::from(things.into_iter().collect::<Vec<_>>())
    }
}

impl<T, const N: usize> From<[(String, T); N]> for Named<T> {
    fn from(things: [(String, T); N]) -> Self {
        things.into_iter().collect()
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = (String, T);
    type IntoIter = std::vec::IntoIter<(String, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Named<T> {
    type Item = &'a (String, T);
    type IntoIter = std::slice::Iter<'a, (String, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T, Q: Borrow<str> + ?Sized> Index<&Q> for Named<T> {
    type Output = T;

    fn index(&self, name: &Q) -> &T {
        self.get(name.borrow()).expect("the name is known")
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut things = Vec::new();
        while let Some(thing) = map.next_entry()? {
            things.push(thing);
        }
        Ok(Named::from(things))
    }
}

/// Things in their order, each once.
#[derive(Clone, Debug)]
pub(crate) struct SortedSet<T>(Vec<T>);

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> SortedSet<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, thing: &T) -> Result<usize, usize> {
        match self.0.last() {
            Some(last) if last >= thing => self.0.binary_search(thing),
            Some(_) | None => Err(self.0.len()),
        }
    }

    /// Puts a thing in. Returns true when it was not there.
    pub(crate) fn insert(&mut self, thing: T) -> bool {
        let found = self.find(&thing);
        if let Err(at) = found {
            self.0.insert(at, thing);
        }
        found.is_err()
    }

    pub(crate) fn contains(&self, thing: &T) -> bool {
        self.find(thing).is_ok()
    }

    pub(crate) fn remove(&mut self, thing: &T) -> bool {
        let found = self.find(thing);
        if let Ok(at) = found {
            self.0.remove(at);
        }
        found.is_ok()
    }

    /// Takes out the first ones, at most so many.
    pub(crate) fn take_first(&mut self, count_max: usize) -> Vec<T> {
        let rest = self.0.split_off(self.0.len().min(count_max));
        std::mem::replace(&mut self.0, rest)
    }

    /// Returns those from one on.
    pub(crate) fn from(&self, first: &T) -> &[T] {
        let at = self.find(first).unwrap_or_else(|at| at);
        &self.0[at..]
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T> IntoIterator for SortedSet<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sorted_is_what_the_standard_library_sorts(mut things in proptest::collection::vec(0_u8..40, 0..60)) {
            let mut expected = things.clone();
            expected.sort_unstable();
            sort(&mut things);
            prop_assert_eq!(&things, &expected);
            expected.reverse();
            sort_by(&mut things, |one, other| other.cmp(one));
            prop_assert_eq!(&things, &expected);
        }

        #[test]
        fn many_at_once_are_what_they_are_one_by_one(
            first in proptest::collection::vec(0_u8..20, 0..20),
            more in proptest::collection::vec(0_u8..20, 0..20),
        ) {
            let name = |n: &u8| n.to_string();
            let mut one_by_one = Named::new();
            for (n, at) in first.iter().chain(&more).zip(0..) {
                one_by_one.insert(name(n), at);
            }
            let mut at_once: Named<usize> = first.iter().map(name).zip(0..).collect();
            at_once.extend(more.iter().map(name).zip(first.len()..));
            prop_assert_eq!(at_once, one_by_one);
        }
    }

    #[test]
    fn names_are_walked_in_order_and_the_last_of_two_equal_ones_stays() {
        let named: Named<u8> =
            ["b", "\u{10000}", "a", "\u{ffff}", "b"].map(str::to_owned).into_iter().zip(0..).collect();
        assert!(named.keys().eq(["a", "b", "\u{ffff}", "\u{10000}"]));
        assert_eq!((named["b"], named.get("c")), (4, None));
    }

    #[test]
    fn a_name_is_taken_out_and_put_back() {
        let mut named = Named::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!((named.remove("a"), named.remove("a")), (Some(1), None));
        assert_eq!((named.insert("a".to_owned(), 3), named.insert("a".to_owned(), 4)), (None, Some(3)));
        assert!(named.values().eq(&[4, 2]));
    }

    #[test]
    fn a_set_holds_each_thing_once_and_in_order() {
        let mut set = SortedSet::new();
        for n in [5, 1, 3, 5, 9, 1] {
            set.insert(n);
        }
        assert_eq!(set.from(&3), [3, 5, 9]);
        assert_eq!(set.from(&4), [5, 9]);
        assert!(set.remove(&9) && !set.remove(&9));
        assert_eq!(set.take_first(2), [1, 3]);
        assert_eq!(set.take_first(2), [5]);
        assert!(set.is_empty());
    }
}
