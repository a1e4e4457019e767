//! Operations on uploads: as the store does them, in memory.

use super::*;

impl KeptUpload {
    /// Fails where it is not the one that is wanted.
    pub(super) fn check(&self, wanted: &Resume) -> Result<(), StoreError> {
        if self.owner.excludes(&wanted.owner) {
            return Err(StoreError::of(ErrorKind::ForeignUpload));
        }
        if (&self.name, self.size) != (&wanted.name, wanted.size) {
            return Err(StoreError::of(ErrorKind::IdTaken));
        }
        Ok(())
    }
}

impl Store {
    pub(super) fn advance(&mut self, operation: UploadOperation<Model>, fails: bool) -> UploadCompletion<Model> {
        let fails_early = fails && !self.spare_staging;
        match operation {
            UploadOperation::Stage(_) if fails_early => UploadCompletion::Staged(Err(self.injected())),
            UploadOperation::Stage(Stage { name, mtime, settled, .. }) => {
                UploadCompletion::Staged(Ok(self.add(name, mtime, settled, None, Vec::new())))
            }
            UploadOperation::Part(_) if fails_early => UploadCompletion::Staged(Err(self.injected())),
            UploadOperation::Part(start) => UploadCompletion::Staged(self.part(start)),
            UploadOperation::Resume(_) if fails_early => UploadCompletion::Resumed(Err(self.injected())),
            UploadOperation::Resume(resume) => UploadCompletion::Resumed(self.resume(resume)),
            UploadOperation::Write { upload, at, chunk, .. } => {
                UploadCompletion::Written(self.write(upload, at, &chunk, fails).map(|()| Chunk { hole: 0, ..chunk }))
            }
            UploadOperation::Checkpoint { upload, digest } => {
                if fails {
                    return UploadCompletion::Checkpointed(Err(self.injected()));
                }
                self.remember(upload, &digest);
                self.checkpoints += 1;
                UploadCompletion::Checkpointed(Ok(()))
            }
            UploadOperation::Finish(finish) => UploadCompletion::Finished(self.finish(&finish, fails)),
            UploadOperation::Discard { upload } => {
                self.let_go(upload, LetGo::Discard, fails);
                UploadCompletion::Released
            }
            UploadOperation::Keep { upload, tail } => {
                self.let_go(upload, LetGo::Keep(tail), fails);
                UploadCompletion::Released
            }
        }
    }

    pub(super) fn finish(&mut self, finish: &Finish<Model>, fails: bool) -> Result<(), StoreError> {
        let Finish { upload, at, chunk, size, crc, before, .. } = finish;
        self.write(*upload, *at, chunk, fails)?;
        if let Some((of, range)) = self.uploads[upload.0].part_of.clone() {
            let data = self.uploads[upload.0].data.clone();
            assert_eq!(
                (data.len() as u64, Crc32::of(&data)),
                (range.end - range.start, *crc),
                "a part that is not whole"
            );
            self.close_part(*upload);
            self.end(*upload);
            self.uploads[of.0].parts.insert(range.start, data);
            return Ok(());
        }
        let upload = &mut self.uploads[upload.0];
        upload.open_parts.clear();
        if let Some(before) = before {
            assert_eq!(before.crc(), Crc32::of(&upload.data), "a digest of other bytes");
            let mut whole = upload.data.clone();
            for (offset, data) in &upload.parts {
                if *offset == whole.len() as u64 {
                    whole.extend_from_slice(data);
                }
            }
            if whole.len() as u64 != *size {
                return Err(StoreError::of(ErrorKind::PartsMissing));
            }
            if Crc32::of(&whole) != *crc {
                return Err(StoreError::of(ErrorKind::OtherCrc));
            }
            self.joined += 1;
            upload.data = whole;
        }
        assert_eq!((upload.data.len() as u64, Crc32::of(&upload.data)), (*size, *crc), "a file that is not whole");
        upload.whole = true;
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        name: Name,
        mtime: Option<Time>,
        settled: bool,
        id: Option<Id>,
        data: Vec<u8>,
    ) -> UploadId {
        let asked = data.len() as u64;
        let (writes, checkpoints, finishing, whole, ending, ended) = (0, 0, false, false, false, false);
        let (part_of, reach, parts, open_parts) = (None, asked, BTreeMap::new(), Vec::new());
        self.uploads.push(Upload {
            name,
            mtime,
            settled,
            id,
            data,
            asked,
            writes,
            checkpoints,
            part_of,
            reach,
            parts,
            open_parts,
            finishing,
            whole,
            ending,
            ended,
            hands: Hands::default(),
            in_hand: None,
        });
        UploadId(self.uploads.len() - 1)
    }

    pub(super) fn resume(&mut self, resume: Resume) -> Result<Resumed<UploadId>, StoreError> {
        if !resume.begins && !self.kept.contains_key(&resume.id) {
            return Err(StoreError::of(ErrorKind::NoUpload));
        }
        let Resume { id, name, size, mtime, owner, .. } = resume.clone();
        self.tree.check_target(name.as_str()).map_err(refused)?;
        let (mut begun, mut parts, mut owner) = (Vec::new(), BTreeMap::new(), owner);
        if let Some(kept) = self.kept.get_mut(&id) {
            assert!(!kept.locked, "a RESUME of {id} while another holds it");
            kept.check(&resume)?;
            owner = kept.owner.clone();
            match &kept.kept {
                Kept::Published { size: whole, crc, tag } => {
                    return Ok(Resumed::Published(Published { size: *whole, crc: *crc, tag: tag.clone() }));
                }
                Kept::Aside { data, offset, parts: beyond } => {
                    (begun, parts) = (data[..*offset as usize].to_vec(), beyond.clone());
                }
            }
        }
        let mut digest = Digest::new();
        digest.update(&begun);
        let kept = Kept::Aside { data: begun.clone(), offset: digest.bytes(), parts: parts.clone() };
        let held_by = Some(UploadId(self.uploads.len()));
        self.kept.insert(id.clone(), KeptUpload { held_by, name: name.clone(), size, kept, locked: true, owner });
        let upload = self.add(name, mtime, false, Some(id), begun);
        let told = parts.iter().map(|(&offset, data)| offset..offset + data.len() as u64).collect();
        self.uploads[upload.0].parts = parts;
        Ok(Resumed::Going { upload, digest, parts: told })
    }

    pub(super) fn part(&mut self, start: PartStart) -> Result<UploadId, StoreError> {
        let PartStart { id, name, offset, length, owner } = start;
        let refused = |kind| Err(StoreError::of(kind));
        let Some(kept) = self.kept.get(&id) else { return refused(ErrorKind::NotHeld) };
        let Some(of) = kept.held_by.filter(|of| !self.uploads[of.0].whole && !self.uploads[of.0].ended) else {
            return refused(ErrorKind::NotHeld);
        };
        if kept.owner.excludes(&owner) {
            return refused(ErrorKind::ForeignUpload);
        }
        if kept.name != name {
            return refused(ErrorKind::IdTaken);
        }
        let range = offset..offset.saturating_add(length);
        let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let holder = &self.uploads[of.0];
        let mut whole = holder.parts.iter().map(|(&offset, data)| offset..offset + data.len() as u64);
        if range.is_empty()
            || range.end > kept.size.unwrap_or_default()
            || offset < holder.reach
            || whole.any(|whole| overlaps(&whole))
        {
            return refused(ErrorKind::BadPart);
        }
        let open = holder.open_parts.clone();
        let stays = |part: &UploadId| !overlaps(&self.uploads[part.0].part_of.as_ref().unwrap().1);
        let open: Vec<_> = open.into_iter().filter(stays).collect();
        self.uploads[of.0].open_parts = open;
        let part = self.add(name, None, false, None, Vec::new());
        self.uploads[part.0].part_of = Some((of, range));
        self.uploads[of.0].open_parts.push(part);
        Ok(part)
    }

    /// Returns whether a part may still be written.
    pub(super) fn is_open_part(&self, part: UploadId) -> bool {
        let (of, _) = self.uploads[part.0].part_of.as_ref().unwrap();
        self.uploads[of.0].open_parts.contains(&part)
    }

    pub(super) fn close_part(&mut self, part: UploadId) {
        if let Some((of, _)) = self.uploads[part.0].part_of {
            self.uploads[of.0].open_parts.retain(|open| *open != part);
        }
    }

    /// The holder writes up to `end`: over parts that are there, or on their way.
    pub(super) fn overtake(&mut self, holder: UploadId, end: u64) {
        let reach = self.uploads[holder.0].reach.max(end);
        let open = self.uploads[holder.0].open_parts.clone();
        let stays = |part: &UploadId| self.uploads[part.0].part_of.as_ref().unwrap().1.start >= reach;
        let open = open.into_iter().filter(stays).collect();
        let upload = &mut self.uploads[holder.0];
        (upload.reach, upload.open_parts) = (reach, open);
        upload.parts.retain(|&offset, _| offset >= reach);
        let kept = upload.id.as_ref().and_then(|id| self.kept.get_mut(id));
        if let Some(KeptUpload { kept: Kept::Aside { parts, .. }, .. }) = kept {
            parts.retain(|&offset, _| offset >= reach);
        }
    }

    pub(super) fn write(&mut self, upload: UploadId, at: u64, chunk: &Chunk, fails: bool) -> Result<(), StoreError> {
        if fails {
            return Err(self.injected());
        }
        if self.uploads[upload.0].part_of.is_none() {
            self.overtake(upload, at + chunk.length());
        } else if !self.is_open_part(upload) {
            return Err(StoreError::of(ErrorKind::TakenOver));
        }
        let upload = &mut self.uploads[upload.0];
        assert!(!upload.ended, "a write to an upload that was let go");
        if upload.settled && upload.data.is_empty() {
            self.tree.check_target(upload.name.as_str()).map_err(refused)?;
        }
        let bytes = whole(chunk);
        let end = at as usize + bytes.len();
        if upload.data.len() < end {
            upload.data.resize(end, 0);
        }
        upload.data[at as usize..end].copy_from_slice(&bytes);
        Ok(())
    }

    pub(super) fn remember(&mut self, upload: UploadId, digest: &Digest) {
        let upload = &self.uploads[upload.0];
        let data = upload.data[..digest.bytes() as usize].to_vec();
        assert_eq!(digest.crc(), Crc32::of(&data), "a checkpoint that lies");
        let kept = upload.id.as_ref().and_then(|id| self.kept.get_mut(id)).unwrap();
        kept.kept = Kept::Aside { data, offset: digest.bytes(), parts: upload.parts.clone() };
    }

    pub(super) fn publish(
        &mut self,
        conn: usize,
        handle: UploadId,
        onto: Onto,
        fails: bool,
    ) -> Result<Published, StoreError> {
        if fails {
            return Err(self.injected());
        }
        let upload = &self.uploads[handle.0];
        match (&onto, self.tree.find(upload.name.as_str())) {
            (Onto::Version(tag), Ok(Node::File { data, mtime })) if *tag != tag_of(data, *mtime) => {
                return Err(StoreError::of(ErrorKind::OtherVersion));
            }
            (Onto::Version(_), Err(_)) if self.tree.check_target(upload.name.as_str()).is_ok() => {
                return Err(StoreError::of(ErrorKind::OtherVersion));
            }
            (Onto::Free, Ok(_)) => return Err(StoreError::of(ErrorKind::NameTaken)),
            (Onto::Taken, Err(_)) if self.tree.check_target(upload.name.as_str()).is_ok() => {
                return Err(StoreError::of(ErrorKind::NameFree));
            }
            _ => {}
        }
        assert!(upload.whole, "published before it was whole");
        let data = Arc::new(upload.data.clone());
        let (name, size, crc) = (upload.name.as_str().to_owned(), data.len() as u64, Crc32::of(&data));
        let tag = self.tree.publish(&name, data, upload.mtime.unwrap_or(some_time())).map_err(refused)?;
        self.end(handle);
        if let Some(kept) = self.id_of(handle).and_then(|id| self.kept.get_mut(&id)) {
            kept.kept = Kept::Published { size, crc, tag: tag.clone() };
        }
        self.note(conn, Effect::Published { name, size, crc });
        Ok(Published { size, crc, tag })
    }

    /// The upload is let go: once.
    pub(super) fn end(&mut self, upload: UploadId) {
        let upload = &mut self.uploads[upload.0];
        assert!(!std::mem::replace(&mut upload.ended, true), "let go twice");
        upload.open_parts.clear();
        upload.data = if upload.id.is_none() { Vec::new() } else { std::mem::take(&mut upload.data) };
        if let Some(kept) = upload.id.as_ref().and_then(|id| self.kept.get_mut(id)) {
            (kept.locked, kept.held_by) = (false, None);
        }
        upload.in_hand = None;
    }
}
