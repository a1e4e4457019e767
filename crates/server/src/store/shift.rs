//! The work of a helper, as the operations see it that it does together.

/// Gives the operations that are to be done together one by one, so that those behind one that the
/// file system does not answer are left to others.
pub trait Shift<O> {
    /// Returns the next one; [`None`] where these are all.
    fn take_one(&mut self) -> Option<O>;

    /// Notes that the work gets on. False where nobody waits for it any more: nothing may be begun
    /// then that could still be left undone.
    fn gets_on(&self) -> bool;
}

/// All are there, and somebody waits for them however long it takes.
impl<O> Shift<O> for std::vec::IntoIter<O> {
    fn take_one(&mut self) -> Option<O> {
        self.next()
    }

    fn gets_on(&self) -> bool {
        true
    }
}
