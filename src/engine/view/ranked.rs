//! Records in an order, with their places: a B-tree whose branches count what is below them. Adding, taking out, finding
//! a record's place and the record at a place all cost O(log n).
//!
//! It holds numbers of records only; whoever asks brings the order along, as a function that compares a member with the
//! record in question. A tree is never deeper than eight levels, for as many records as there are numbers.

use std::cmp::Ordering;

use crate::engine::table::RecordId;

/// How much a leaf or a branch holds at most.
const FULL: usize = 64;
/// Below this, it is joined with a neighbour, if the two have room.
const SPARSE: usize = 16;
/// How much of a node is filled at first, so that the next records find room.
const FILLED: usize = 48;

/// How a member stands to the record in question: before it, after it, or it itself.
pub(super) type Place<'a> = dyn Fn(RecordId) -> Ordering + 'a;

#[derive(Debug)]
enum Node {
    Leaf(Vec<RecordId>),
    Branch(Vec<Child>),
}

#[derive(Clone, Copy, Debug)]
struct Child {
    node: usize,
    count: u32,
    first: RecordId,
}

/// Records in an order.
#[derive(Debug)]
pub(super) struct Ranked {
    nodes: Vec<Node>,
    free: Vec<usize>,
    root: usize,
    len: u32,
}

impl Default for Ranked {
    fn default() -> Self {
        Self { nodes: vec![Node::Leaf(Vec::new())], free: Vec::new(), root: 0, len: 0 }
    }
}

impl Ranked {
    /// Makes a tree of records that are in order.
    pub(super) fn build(sorted: &[RecordId]) -> Self {
        let mut tree = Self { nodes: Vec::new(), free: Vec::new(), root: 0, len: 0 };
        let mut level: Vec<Child> = Vec::new();
        for ids in sorted.chunks(FILLED) {
            let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            tree.len += count;
            let node = tree.keep(Node::Leaf(ids.to_vec()));
            level.push(Child { node, count, first: ids[0] });
        }
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len() / FILLED + 1);
            for children in level.chunks(FILLED) {
                let (count, first) = (count(children), children[0].first);
                above.push(Child { node: tree.keep(Node::Branch(children.to_vec())), count, first });
            }
            level = above;
        }
        match level.first() {
            Some(top) => tree.root = top.node,
            None => return Self::default(),
        }
        tree
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Returns a record's place, or the one that it would have.
    pub(super) fn rank(&self, place: &Place<'_>) -> Result<u32, u32> {
        let (mut node, mut before) = (self.root, 0);
        loop {
            match &self.nodes[node] {
                Node::Branch(children) => {
                    let at = child_for(children, place);
                    before += count(&children[..at]);
                    node = children[at].node;
                }
                Node::Leaf(ids) => {
                    let found = ids.binary_search_by(|id| place(*id));
                    let rank = |at| before + u32::try_from(at).unwrap_or(u32::MAX);
                    return found.map(rank).map_err(rank);
                }
            }
        }
    }

    /// Returns the record at a place.
    pub(super) fn at(&self, mut rank: u32) -> Option<RecordId> {
        let mut node = self.root;
        loop {
            match &self.nodes[node] {
                Node::Branch(children) => {
                    let mut below = None;
                    for child in children {
                        if rank < child.count {
                            below = Some(child.node);
                            break;
                        }
                        rank -= child.count;
                    }
                    node = below?;
                }
                Node::Leaf(ids) => return ids.get(rank as usize).copied(),
            }
        }
    }

    /// Returns the records at the places from one up to, and without, another.
    pub(super) fn range(&self, from: u32, to: u32) -> Vec<RecordId> {
        let to = to.min(self.len);
        let mut ids = Vec::with_capacity(to.saturating_sub(from) as usize);
        if from < to {
            self.gather(self.root, from, to, &mut ids);
        }
        ids
    }

    fn gather(&self, node: usize, from: u32, to: u32, ids: &mut Vec<RecordId>) {
        match &self.nodes[node] {
            Node::Leaf(members) => {
                let to = members.len().min(to as usize);
                ids.extend_from_slice(&members[to.min(from as usize)..to]);
            }
            Node::Branch(children) => {
                let mut start = 0;
                for child in children {
                    let end = start + child.count;
                    if start < to && end > from {
                        self.gather(child.node, from.saturating_sub(start), to - start, ids);
                    }
                    start = end;
                }
            }
        }
    }

    /// Adds a record that is not in it. Returns its place.
    pub(super) fn insert(&mut self, id: RecordId, place: &Place<'_>) -> u32 {
        self.len += 1;
        let (rank, split) = self.insert_below(self.root, id, place);
        if let Some(split) = split {
            let left = Child { node: self.root, count: self.len - split.count, first: self.first_of(self.root) };
            self.root = self.keep(Node::Branch(vec![left, split]));
        }
        rank
    }

    /// Returns the record's place below a node, and the right half of the node if it had to be split.
    fn insert_below(&mut self, node: usize, id: RecordId, place: &Place<'_>) -> (u32, Option<Child>) {
        let (at, below) = match &mut self.nodes[node] {
            Node::Leaf(ids) => {
                let at = ids.binary_search_by(|member| place(*member)).unwrap_or_else(|at| at);
                ids.insert(at, id);
                return (u32::try_from(at).unwrap_or(u32::MAX), self.split(node));
            }
            Node::Branch(children) => {
                let at = child_for(children, place);
                (at, children[at].node)
            }
        };
        let (mut rank, split) = self.insert_below(below, id, place);
        let first = self.first_of(below);
        if let Node::Branch(children) = &mut self.nodes[node] {
            rank += count(&children[..at]);
            children[at].count += 1;
            children[at].first = first;
            if let Some(split) = split {
                children[at].count -= split.count;
                children.insert(at + 1, split);
            }
        }
        (rank, self.split(node))
    }

    fn split(&mut self, node: usize) -> Option<Child> {
        let right = match &mut self.nodes[node] {
            Node::Leaf(ids) if ids.len() > FULL => Node::Leaf(ids.split_off(FULL / 2)),
            Node::Branch(children) if children.len() > FULL => Node::Branch(children.split_off(FULL / 2)),
            Node::Leaf(_) | Node::Branch(_) => return None,
        };
        let count = match &right {
            Node::Leaf(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
            Node::Branch(children) => count(children),
        };
        let node = self.keep(right);
        Some(Child { node, count, first: self.first_of(node) })
    }

    /// Takes a record out. Returns the place that it had, if it was there.
    pub(super) fn remove(&mut self, place: &Place<'_>) -> Option<u32> {
        let rank = self.remove_below(self.root, place)?;
        self.len -= 1;
        // A branch with one child only is no branch.
        while let Node::Branch(children) = &self.nodes[self.root]
            && let [only] = children[..]
        {
            self.drop_node(self.root);
            self.root = only.node;
        }
        Some(rank)
    }

    fn remove_below(&mut self, node: usize, place: &Place<'_>) -> Option<u32> {
        let (at, below) = match &mut self.nodes[node] {
            Node::Leaf(ids) => {
                let at = ids.binary_search_by(|member| place(*member)).ok()?;
                ids.remove(at);
                return u32::try_from(at).ok();
            }
            Node::Branch(children) => {
                let at = child_for(children, place);
                (at, children[at].node)
            }
        };
        let mut rank = self.remove_below(below, place)?;
        let is_left = self.width(below) > 0;
        let first = if is_left { self.first_of(below) } else { RecordId(0) };
        if let Node::Branch(children) = &mut self.nodes[node] {
            rank += count(&children[..at]);
            if is_left {
                children[at].count -= 1;
                children[at].first = first;
            } else {
                children.remove(at);
            }
        }
        if !is_left {
            self.drop_node(below);
        } else if self.width(below) < SPARSE {
            self.join(node, at);
        }
        Some(rank)
    }

    /// Joins a sparse child with a neighbour that has room for it.
    fn join(&mut self, node: usize, at: usize) {
        let Node::Branch(children) = &self.nodes[node] else { return };
        let has_room = |left: &usize| {
            let pair = children.get(*left).zip(children.get(*left + 1));
            pair.is_some_and(|(left, right)| self.width(left.node) + self.width(right.node) <= FILLED)
        };
        let Some(left) = [at.wrapping_sub(1), at].into_iter().filter(|left| *left < children.len()).find(has_room)
        else {
            return;
        };
        let (into, from) = (children[left], children[left + 1]);
        let moved = self.drop_node(from.node);
        match (&mut self.nodes[into.node], moved) {
            (Node::Leaf(ids), Node::Leaf(more)) => ids.extend(more),
            (Node::Branch(children), Node::Branch(more)) => children.extend(more),
            // All leaves are equally deep, so neighbours are alike.
            (Node::Leaf(_), Node::Branch(_)) | (Node::Branch(_), Node::Leaf(_)) => {}
        }
        if let Node::Branch(children) = &mut self.nodes[node] {
            children[left].count += from.count;
            children.remove(left + 1);
        }
    }

    fn width(&self, node: usize) -> usize {
        match &self.nodes[node] {
            Node::Leaf(ids) => ids.len(),
            Node::Branch(children) => children.len(),
        }
    }

    /// The first record below a node; only an empty tree has none.
    fn first_of(&self, node: usize) -> RecordId {
        match &self.nodes[node] {
            Node::Leaf(ids) => ids.first().copied().unwrap_or(RecordId(0)),
            Node::Branch(children) => children.first().map_or(RecordId(0), |child| child.first),
        }
    }

    fn keep(&mut self, node: Node) -> usize {
        if let Some(at) = self.free.pop() {
            self.nodes[at] = node;
            return at;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn drop_node(&mut self, node: usize) -> Node {
        self.free.push(node);
        std::mem::replace(&mut self.nodes[node], Node::Leaf(Vec::new()))
    }
}

fn count(children: &[Child]) -> u32 {
    children.iter().map(|child| child.count).sum()
}

/// The child in which a record is, or would be.
fn child_for(children: &[Child], place: &Place<'_>) -> usize {
    children.partition_point(|child| place(child.first).is_le()).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every leaf equally deep, counts and firsts true, nothing overfull, nothing lost.
    fn check(tree: &Ranked, expected: &[u32]) {
        fn walk(tree: &Ranked, node: usize, is_root: bool, ids: &mut Vec<u32>) -> usize {
            assert!(tree.width(node) <= FULL);
            assert!(is_root || tree.width(node) > 0, "an empty node was kept");
            match &tree.nodes[node] {
                Node::Leaf(members) => {
                    ids.extend(members.iter().map(|id| id.0));
                    1
                }
                Node::Branch(children) => {
                    let mut depths = Vec::new();
                    for child in children {
                        let before = ids.len();
                        depths.push(walk(tree, child.node, false, ids));
                        assert_eq!((ids.len() - before, ids[before]), (child.count as usize, child.first.0));
                    }
                    assert!(depths.iter().all(|depth| *depth == depths[0]));
                    depths[0] + 1
                }
            }
        }
        let mut ids = Vec::new();
        let depth = walk(tree, tree.root, true, &mut ids);
        assert_eq!((ids.as_slice(), tree.len() as usize), (expected, expected.len()));
        assert!(depth <= 8);
    }

    fn place(id: u32) -> impl Fn(RecordId) -> Ordering {
        move |member| member.0.cmp(&id)
    }

    #[test]
    fn a_tree_that_is_emptied_is_as_small_as_a_new_one() {
        let ids: Vec<RecordId> = (0..20_000).map(RecordId).collect();
        let mut tree = Ranked::build(&ids);
        check(&tree, &(0..20_000).collect::<Vec<_>>());
        for id in (0..20_000).map(|n| n * 7_919 % 20_000) {
            assert!(tree.remove(&place(id)).is_some());
            assert_eq!(tree.remove(&place(id)), None);
        }
        check(&tree, &[]);
        assert_eq!(tree.nodes.len() - tree.free.len(), 1);
    }

    #[test]
    fn a_tree_that_thins_out_gives_its_nodes_back() {
        let ids: Vec<RecordId> = (0..20_000).map(RecordId).collect();
        let mut tree = Ranked::build(&ids);
        for id in (0..20_000).filter(|id| id % 100 != 0) {
            assert!(tree.remove(&place(id)).is_some());
        }
        check(&tree, &(0..200).map(|n| n * 100).collect::<Vec<_>>());
        assert!(tree.nodes.len() - tree.free.len() <= 200 / SPARSE + 2);
    }

    proptest! {
        #[test]
        fn places_are_those_of_a_sorted_list(
            start in proptest::collection::btree_set(0u32..3_000, 0..600),
            steps in proptest::collection::vec((any::<bool>(), 0u32..3_000), 0..800),
        ) {
            let mut list: Vec<u32> = start.into_iter().collect();
            let mut tree = Ranked::build(&list.iter().copied().map(RecordId).collect::<Vec<_>>());
            for (adds, id) in steps {
                let found = list.binary_search(&id);
                prop_assert_eq!(tree.rank(&place(id)).map(|at| at as usize).map_err(|at| at as usize), found);
                match (adds, found) {
                    (true, Err(at)) => {
                        list.insert(at, id);
                        prop_assert_eq!(tree.insert(RecordId(id), &place(id)) as usize, at);
                    }
                    (false, Ok(at)) => {
                        list.remove(at);
                        prop_assert_eq!(tree.remove(&place(id)).map(|rank| rank as usize), Some(at));
                    }
                    _ => {}
                }
            }
            check(&tree, &list);
            for (rank, id) in (0..).zip(&list) {
                prop_assert_eq!(tree.at(rank), Some(RecordId(*id)));
            }
            let len = tree.len();
            prop_assert_eq!(tree.at(len), None);
            for (from, to) in [(0, len), (len / 3, len / 2), (len / 2, len / 3), (len, len + 5), (0, u32::MAX)] {
                let expected: Vec<RecordId> =
                    list.iter().skip(from as usize).take(to.saturating_sub(from) as usize).copied().map(RecordId).collect();
                prop_assert_eq!(tree.range(from, to), expected);
            }
        }
    }
}
