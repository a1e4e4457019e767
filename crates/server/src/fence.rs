//! A second wall behind the store's own confinement: Landlock (landlock(7)), where the kernel has it.
//!
//! From then on this process and its helpers can touch nothing outside the root, and can neither
//! listen on a port nor open a connection: whatever mistake a peer might find in this program, that
//! is all that it could reach. What was opened before, the listening socket and the log, stays
//! open.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// The newest interface whose rights are asked for; an older kernel gives what it knows.
const INTERFACE: ABI = ABI::V5;

/// Fences this thread in, and every thread that it starts from here on: it may do what it likes
/// beneath `root`, and nothing elsewhere. Gives what came of it, for the log.
pub fn raise(root: &Path, writable: bool) -> &'static str {
    match restrict(root, writable) {
        Ok(RulesetStatus::FullyEnforced) => "fenced in by Landlock: nothing but the root, no new connections",
        Ok(RulesetStatus::PartiallyEnforced) => "fenced in by Landlock as far as this kernel can",
        Ok(RulesetStatus::NotEnforced) => "not fenced in: this kernel has no Landlock",
        Err(_) => "not fenced in: this kernel refuses Landlock",
    }
}

fn restrict(root: &Path, writable: bool) -> Result<RulesetStatus, RulesetError> {
    let beneath = if writable { AccessFs::from_all(INTERFACE) } else { AccessFs::from_read(INTERFACE) };
    let Ok(root) = PathFd::new(root) else { return Ok(RulesetStatus::NotEnforced) };
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(INTERFACE))?
        .handle_access(AccessNet::from_all(INTERFACE))?
        .create()?
        .add_rule(PathBeneath::new(root, beneath))?;
    Ok(ruleset.restrict_self()?.ruleset)
}
