//! The worlds that clients may find after a cut, derived from the answers that they got.
//!
//! A change that was acknowledged has happened; one that was refused has not; one that was under way when the
//! power failed, or the server was killed, may have. So there are several worlds, and the tree that is found
//! must be that of one of them. In each of them every file is one whole version.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::common::tree::{Node, Tree};

/// A change, as its client means it.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// A whole file, of a resumable upload if there is an id.
    Put {
        name: String,
        bytes: Vec<u8>,
        id: Option<String>,
    },
    Mkdir(String),
    Delete(String),
    Rename(String, String),
    /// The same in steps: a file has both names in between, and of a directory the new one is kept. The next server
    /// settles that, which these disks are not enough for: they have neither inode numbers nor modes.
    InSteps(String, String),
    /// RESUME said that it was published before.
    Confirm(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Refused,
    /// The server was killed before it could tell.
    Unknown,
}

/// Something a client did, or was told, between two calls of the store.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Changes that share their fsyncs, and are answered together.
    Batch { begun: usize, ended: usize, effects: Vec<(Effect, Verdict)> },
    /// A resumable upload began.
    Begun { at: usize, id: String, name: String, bytes: Vec<u8> },
    /// So much of it was acknowledged as kept.
    Promise { at: usize, id: String, offset: u64 },
    /// These parts beyond that were.
    PromiseParts { at: usize, id: String, parts: Vec<Range<u64>> },
    /// Its holder writes up to there from here on, over parts as well.
    WriteOver { at: usize, id: String, end: u64 },
    /// It was told of as one that is there.
    Known { at: usize, id: String },
    /// It may be discarded from here on.
    Discard { at: usize, id: String },
}

/// The tree that clients may see, and the resumable uploads that were published.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct World {
    pub(crate) tree: Tree,
    pub(crate) published: BTreeSet<String>,
}

/// A resumable upload, and how much of it must be kept as long as it is not published.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) promised: u64,
    pub(crate) parts: Vec<Range<u64>>,
    /// A look at it must find it.
    pub(crate) is_known: bool,
}

pub(crate) type Facts = BTreeMap<String, Fact>;

/// All that happened since a disk whose worlds and facts are known.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) worlds: BTreeSet<World>,
    pub(crate) facts: Facts,
    pub(crate) events: Vec<Event>,
}

impl Default for History {
    fn default() -> History {
        History { worlds: BTreeSet::from([World::default()]), facts: Facts::new(), events: Vec::new() }
    }
}

impl History {
    /// Returns the worlds that there may be after a cut.
    pub(crate) fn worlds_at(&self, cut: usize) -> BTreeSet<World> {
        let mut worlds = self.worlds.clone();
        for event in &self.events {
            let Event::Batch { begun, ended, effects } = event else { continue };
            if *begun >= cut && *ended > cut {
                break;
            }
            for (effect, verdict) in effects {
                let verdict = if *ended <= cut { *verdict } else { Verdict::Unknown };
                worlds = worlds.into_iter().flat_map(|world| world.after(effect, verdict)).collect();
            }
        }
        worlds
    }

    /// Returns the uploads that had begun by a cut.
    pub(crate) fn facts_at(&self, cut: usize) -> Facts {
        let mut facts = self.facts.clone();
        for event in &self.events {
            match event {
                Event::Begun { at, id, name, bytes } if *at <= cut => {
                    let new = || {
                        let (name, bytes, parts) = (name.clone(), bytes.clone(), Vec::new());
                        Fact { name, bytes, promised: 0, parts, is_known: false }
                    };
                    facts.entry(id.clone()).or_insert_with(new);
                }
                Event::Promise { at, id, offset } if *at <= cut => {
                    let fact = facts.get_mut(id).expect("an upload that began");
                    fact.promised = fact.promised.max(*offset);
                }
                Event::Known { at, id } if *at <= cut => {
                    facts.get_mut(id).expect("an upload that began").is_known = true;
                }
                Event::PromiseParts { at, id, parts } if *at <= cut => {
                    facts.get_mut(id).expect("an upload that began").parts.clone_from(parts);
                }
                Event::WriteOver { at, id, end } if *at <= cut => {
                    facts.get_mut(id).expect("an upload that began").parts.retain(|part| part.start >= *end);
                }
                Event::Discard { at, id } if *at <= cut => {
                    let fact = facts.get_mut(id).expect("an upload that began");
                    (fact.promised, fact.parts, fact.is_known) = (0, Vec::new(), false);
                }
                _ => {}
            }
        }
        facts
    }
}

impl World {
    fn after(self, effect: &Effect, verdict: Verdict) -> Vec<World> {
        match verdict {
            Verdict::Refused => vec![self],
            // Where it can't have happened, it was another world in which it was acknowledged.
            Verdict::Done => self.with(effect).into_iter().collect(),
            Verdict::Unknown => self.with(effect).into_iter().chain(self.between(effect)).chain([self]).collect(),
        }
    }

    /// Where an effect that takes two calls has happened by half.
    fn between(&self, effect: &Effect) -> Option<World> {
        let Effect::InSteps(from, to) = effect else { return None };
        self.with(effect)?;
        let mut world = self.clone();
        let node = self.tree.0.get(from)?;
        world.tree.0.insert(to.clone(), node.clone());
        Some(world)
    }

    fn with(&self, effect: &Effect) -> Option<World> {
        let mut world = self.clone();
        let tree = &mut world.tree;
        match effect {
            Effect::Put { name, bytes, id } => {
                if tree.is_dir(name) || !tree.has_parent(name) {
                    return None;
                }
                tree.put(name, bytes);
                world.published.extend(id.clone());
            }
            Effect::Mkdir(name) => {
                if tree.0.contains_key(name) || !tree.has_parent(name) {
                    return None;
                }
                tree.0.insert(name.clone(), Node::Dir);
            }
            Effect::Delete(name) => {
                let inside = format!("{name}/");
                if tree.0.keys().any(|other| other.starts_with(&inside)) {
                    return None;
                }
                tree.0.remove(name)?;
            }
            Effect::Rename(from, to) | Effect::InSteps(from, to) => rename(tree, from, to)?,
            Effect::Confirm(id) => {
                if !world.published.contains(id) {
                    return None;
                }
            }
        }
        Some(world)
    }
}

fn rename(tree: &mut Tree, from: &str, to: &str) -> Option<()> {
    let inside = format!("{from}/");
    if tree.0.contains_key(to) || !tree.has_parent(to) || to.starts_with(&inside) {
        return None;
    }
    let node = tree.0.remove(from)?;
    tree.0.insert(to.into(), node);
    let moved: Vec<_> = tree.0.keys().filter(|name| name.starts_with(&inside)).cloned().collect();
    for name in moved {
        let node = tree.0.remove(&name)?;
        tree.0.insert(format!("{to}/{}", &name[inside.len()..]), node);
    }
    Some(())
}
