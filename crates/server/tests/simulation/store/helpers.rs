//! Helpers at work on uploads, and who lets them go.

use super::*;

impl Store {
    /// A helper begins an operation; [`None`] where it comes too late.
    pub(crate) fn enter(&mut self, operation: &Operation<Model>) -> Option<Work> {
        let upload = match operation {
            Operation::Upload(_, UploadOperation::Resume(resume)) => {
                return self.in_hand.take(&resume.id).map(Work::Resume);
            }
            Operation::Upload(
                _,
                UploadOperation::Write { upload, .. }
                | UploadOperation::Checkpoint { upload, .. }
                | UploadOperation::Finish(Finish { upload, .. }),
            )
            | Operation::Name(NameOperation::Publish(_, upload, _)) => *upload,
            _ => return Some(Work::None),
        };
        self.uploads[upload.0].hands.enter(WorkOn::Own).then_some(Work::Upload(upload))
    }

    /// A helper has ended an operation.
    pub(crate) fn leave(&mut self, work: Work, completion: &Completion<'_, Model>) {
        match (work, completion) {
            (Work::Upload(upload), _) => {
                if let Some(how) = self.uploads[upload.0].hands.leave(WorkOn::Own) {
                    self.let_go_now(upload, how, false);
                }
            }
            (
                Work::Resume(in_hand),
                Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))),
            ) => {
                self.uploads[upload.0].in_hand = Some(in_hand);
            }
            (Work::Resume(_) | Work::None, _) => {}
        }
    }

    /// Nobody takes a completion.
    pub(crate) fn forget(&mut self, completion: Completion<'_, Model>) {
        if let Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))) = completion {
            self.let_go(upload, LetGo::Keep(None), false);
        } else if let Completion::Upload(_, UploadCompletion::Staged(Ok(upload))) = completion
            && self.uploads[upload.0].part_of.is_some()
        {
            self.let_go(upload, LetGo::Discard, false);
        }
    }

    pub(super) fn let_go(&mut self, upload: UploadId, how: LetGo, fails: bool) {
        if let Some(how) = self.uploads[upload.0].hands.let_go(how) {
            self.let_go_now(upload, how, fails);
        }
    }

    pub(super) fn let_go_now(&mut self, upload: UploadId, how: LetGo, fails: bool) {
        if self.uploads[upload.0].ended {
            // It was published, late.
            return;
        }
        if let LetGo::Keep(Some(Tail { at, chunk, digest })) = &how
            && self.write(upload, *at, chunk, fails).is_ok()
        {
            self.remember(upload, digest);
        }
        self.close_part(upload);
        self.end(upload);
        if let (LetGo::Discard, Some(id)) = (how, self.id_of(upload)) {
            self.kept.remove(&id);
        }
    }
}
