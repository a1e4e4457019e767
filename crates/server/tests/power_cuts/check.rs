//! Opens a store on a disk after a power cut, and looks at what is there.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use ferry_server::store::{Progress, Store, Upload};
use ferry_wire::{Code, Crc32, Failure, Reply};

use crate::{
    common::{
        self,
        client::{Client, Held, Resumed, id, name},
        fresh_root,
        tree::{self, Tree},
    },
    model::Image,
    script::announced,
    worlds::{Fact, Facts, World},
};

/// The violations on one disk.
pub(crate) fn check(image: &Image, worlds: &BTreeSet<World>, facts: &Facts) -> Vec<String> {
    let root = fresh_root();
    image.write_to(root.path());
    let mut found = Vec::new();
    let found_tree = Tree::read(root.path());
    let possible: Vec<_> = worlds.iter().filter(|world| world.tree == found_tree).collect();
    if possible.is_empty() {
        let expected: Vec<_> = worlds.iter().map(|world| &world.tree.0).collect();
        found.push(format!("clients see {:?}, expected one of {expected:?}", found_tree.0));
        return found;
    }
    let store = Store::open(&common::options(root.path())).expect("a store after a power cut");
    store.clean();
    // A rename in steps is settled by it.
    let settled = Tree::read(root.path());
    if settled != found_tree && !worlds.iter().any(|world| world.tree == settled) {
        found.push("cleaning up changed what clients see".into());
    }
    let runs = tree::runs(root.path());
    if runs.len() != 1 || !runs[0].1.is_empty() {
        found.push(format!("cleaning up left {runs:?}"));
    }
    let mut client = Client::new(&store, true);
    for (as_id, fact) in facts {
        let published = |world: &&&World| world.published.contains(as_id);
        let may = possible.iter().any(|world| published(&world));
        let must = possible.iter().all(|world| published(&world));
        let looked = look(&mut client, as_id, fact, (may, must));
        let ended = looked.and_then(|told| resume(&mut client, root.path(), as_id, fact, told, (may, must)));
        if let Err(violation) = ended {
            found.push(format!("RESUME {as_id}: {violation}"));
        }
    }
    found
}

/// A look at it tells the truth: how much of it there is, where it has no name yet.
fn look(client: &mut Client<'_>, as_id: &str, fact: &Fact, (may, must): (bool, bool)) -> Result<Option<u64>, String> {
    match client.measure(&id(as_id), &name(&fact.name), announced(as_id, &fact.bytes)) {
        Ok(Progress::Published(published)) => saved(&published.into(), &fact.bytes, may).map(|()| None),
        Ok(Progress::Kept(offset)) if must => Err(format!("{offset} bytes are kept, though SAVED was told")),
        Ok(Progress::Kept(offset)) => Ok(Some(offset)),
        Err(failure) if fact.is_known || fact.promised > 0 || must => Err(format!("a look at it: {failure}")),
        // It did not begin, or was dropped.
        Err(failure) if failure.code == Code::NotFound => Ok(Some(0)),
        Err(failure) => Err(format!("a look at it: {failure}")),
    }
}

/// RESUME tells the truth, also of how much a look `told`, and ends well.
fn resume(
    client: &mut Client<'_>,
    root: &std::path::Path,
    as_id: &str,
    fact: &Fact,
    told: Option<u64>,
    (may, must): (bool, bool),
) -> Result<(), String> {
    let Fact { name: to, bytes, promised, parts, .. } = fact;
    let before = Tree::read(root);
    let held = match client.resume(&id(as_id), &name(to), announced(as_id, bytes)) {
        // A directory that it needs was taken away, or has its name.
        Err(_) if !before.has_parent(to) || before.is_dir(to) => return Ok(()),
        Err(failure) => return Err(format!("{failure}")),
        Ok(Resumed::Saved(reply)) => return saved(&reply, bytes, may),
        Ok(Resumed::Going(held)) => held,
    };
    let offset = held.digest.bytes();
    if must {
        return Err(format!("GO {offset}, though SAVED was told"));
    }
    if told != Some(offset) {
        return Err(format!("GO {offset}, though a look at it told {told:?}"));
    }
    if offset < *promised {
        return Err(format!("GO {offset}, though {promised} were promised"));
    }
    let kept = tree::kept(root, as_id);
    let crcs = (kept.get(..offset as usize).map(Crc32::of), bytes.get(..offset as usize).map(Crc32::of));
    if crcs != (Some(held.digest.crc()), Some(held.digest.crc())) {
        return Err(format!("GO {offset}, with CRC {}, but kept and sent have {crcs:?}", held.digest.crc()));
    }
    let of = |whole: &[u8], part: &Range<u64>| whole.get(part.start as usize..part.end as usize).map(<[u8]>::to_vec);
    if let Some(part) = held.parts.iter().find(|part| of(&kept, part) != of(bytes, part)) {
        return Err(format!("GO tells of {part:?}, which are other bytes"));
    }
    let is_told = |part: &Range<u64>| held.parts.iter().any(|told| told.start <= part.start && part.end <= told.end);
    if let Some(part) = parts.iter().find(|part| part.end > offset && !is_told(part)) {
        return Err(format!("GO {offset}, {:?}, though {part:?} was promised", held.parts));
    }
    let finished = end(client, as_id, held, fact).and_then(|upload| client.publish(upload));
    if Tree::read(root).file(to) != Some(bytes) {
        return Err(format!("sent to its end: {finished:?}, but it is not there"));
    }
    match client.resume(&id(as_id), &name(to), announced(as_id, bytes)) {
        Ok(Resumed::Saved(reply)) => saved(&reply, bytes, true),
        _ => Err("no SAVED for what was published".into()),
    }
}

/// Sends what is missing: between parts in parts, where there are any.
fn end(client: &mut Client<'_>, as_id: &str, held: Held, fact: &Fact) -> Result<Arc<Upload>, Failure> {
    let Fact { name: to, bytes, .. } = fact;
    if held.parts.is_empty() {
        return client.finish(held, bytes);
    }
    let (mut from, whole) = (held.digest.bytes(), bytes.len() as u64);
    for part in held.parts.iter().cloned().chain(std::iter::once(whole..whole)) {
        if from < part.start {
            client.part(&id(as_id), &name(to), from, &bytes[from as usize..part.start as usize])?;
        }
        from = part.end;
    }
    client.join(held, bytes)
}

fn saved(reply: &Reply, bytes: &[u8], may: bool) -> Result<(), String> {
    match reply {
        Reply::Saved { size, crc, .. } if (*size, *crc) == (bytes.len() as u64, Crc32::of(bytes)) && may => Ok(()),
        reply => Err(format!("{reply:?}, though it was not published: {}", !may)),
    }
}
