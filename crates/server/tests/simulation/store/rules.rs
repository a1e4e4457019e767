//! Rules on which operations may be asked for at which time.

use super::*;

impl Store {
    /// A session asks for `operation`; it will be done some time later.
    pub(crate) fn asked(&mut self, operation: &Operation<Model>) {
        match operation {
            Operation::Upload(_, operation) => self.asked_of_upload(operation),
            Operation::Name(NameOperation::Publish(_, upload, _)) => {
                let upload = self.open_upload(*upload);
                assert!(upload.whole, "published before it was whole");
            }
            Operation::Name(NameOperation::Change(..)) | Operation::Read(_) => {}
        }
    }

    fn asked_of_upload(&mut self, operation: &UploadOperation<Model>) {
        match operation {
            UploadOperation::Stage(_) | UploadOperation::Resume(_) | UploadOperation::Part(_) => {}
            UploadOperation::Write { upload, at, chunk, crc } => {
                assert_eq!(*crc, Crc32::of(&whole(chunk)), "the CRC of other bytes");
                let upload = self.open_upload(*upload);
                assert!(!upload.finishing, "a write behind the end");
                assert_eq!(*at, upload.asked, "a chunk that is not the next");
                assert!(!chunk.bytes().is_empty(), "an empty write");
                upload.asked += chunk.length();
                upload.writes += 1;
                assert!(upload.writes <= 2, "{} writes at once", upload.writes);
            }
            UploadOperation::Checkpoint { upload, digest } => {
                let upload = self.open_upload(*upload);
                assert!(upload.id.is_some(), "a checkpoint of an upload that is not kept");
                assert_eq!(
                    (upload.writes, upload.checkpoints),
                    (0, 0),
                    "a checkpoint while something else is under way"
                );
                assert_eq!(digest.bytes(), upload.asked, "a checkpoint of other bytes");
                upload.checkpoints += 1;
            }
            UploadOperation::Finish(Finish { upload, at, chunk, chunk_crc, size, before, .. }) => {
                assert_eq!(*chunk_crc, Crc32::of(&whole(chunk)), "the CRC of other bytes");
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "finished while something is under way");
                assert_eq!(*at, upload.asked, "a last chunk that is not the next");
                let end = before.as_ref().map_or(*size, Digest::bytes);
                assert_eq!(end, at + chunk.length(), "another size than bytes");
                assert!(before.is_none() || upload.id.is_some(), "parts of an upload that is not kept");
                assert!(!upload.finishing, "finished twice");
                upload.finishing = true;
                // It has touched the disk, even if it is empty.
                upload.asked = upload.asked.max(*size).max(1);
            }
            UploadOperation::Discard { upload } | UploadOperation::Keep { upload, tail: None } => {
                let upload = &mut self.uploads[upload.0];
                // It may have been published, late.
                assert!(!upload.ending && (!upload.ended || upload.whole), "let go twice");
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "let go while something is under way");
                upload.ending = true;
            }
            UploadOperation::Keep { upload, tail: Some(tail) } => {
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "let go while something is under way");
                assert_eq!(tail.at, upload.asked, "a tail that is not the next");
                assert_eq!(tail.digest.bytes(), tail.at + tail.chunk.length());
                upload.ending = true;
            }
        }
    }

    fn open_upload(&mut self, upload: UploadId) -> &mut Upload {
        let upload = &mut self.uploads[upload.0];
        assert!(!upload.ending && !upload.ended, "something is asked of an upload that was let go: {}", upload.name);
        upload
    }
}
