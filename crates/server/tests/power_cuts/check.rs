//! Opens a store on a disk after a power cut, and looks at what is there.

use std::collections::BTreeSet;

use ferry_server::store::Store;
use ferry_wire::{Crc32, Reply};

use crate::{
    common::{
        self,
        client::{Client, Resumed, id, name},
        fresh_root,
        tree::{self, Tree},
    },
    model::Image,
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
        if let Err(violation) = resume(&mut client, root.path(), as_id, fact, (may, must)) {
            found.push(format!("RESUME {as_id}: {violation}"));
        }
    }
    found
}

/// RESUME tells the truth, and ends well.
fn resume(
    client: &mut Client<'_>,
    root: &std::path::Path,
    as_id: &str,
    fact: &Fact,
    (may, must): (bool, bool),
) -> Result<(), String> {
    let Fact { name: to, bytes, promised } = fact;
    let before = Tree::read(root);
    let held = match client.resume(&id(as_id), &name(to), bytes.len() as u64) {
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
    if offset < *promised {
        return Err(format!("GO {offset}, though {promised} were promised"));
    }
    let kept = tree::kept(root, as_id);
    let crcs = (kept.get(..offset as usize).map(Crc32::of), bytes.get(..offset as usize).map(Crc32::of));
    if crcs != (Some(held.digest.crc()), Some(held.digest.crc())) {
        return Err(format!("GO {offset}, with CRC {}, but kept and sent have {crcs:?}", held.digest.crc()));
    }
    let finished = client.finish(held, bytes).and_then(|upload| client.publish(upload));
    if Tree::read(root).file(to) != Some(bytes) {
        return Err(format!("sent to its end: {finished:?}, but it is not there"));
    }
    match client.resume(&id(as_id), &name(to), bytes.len() as u64) {
        Ok(Resumed::Saved(reply)) => saved(&reply, bytes, true),
        _ => Err("no SAVED for what was published".into()),
    }
}

fn saved(reply: &Reply, bytes: &[u8], may: bool) -> Result<(), String> {
    match reply {
        Reply::Saved { size, crc, .. } if (*size, *crc) == (bytes.len() as u64, Crc32::of(bytes)) && may => Ok(()),
        reply => Err(format!("{reply:?}, though it was not published: {}", !may)),
    }
}
