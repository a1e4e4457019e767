//! Operations that read.

use super::*;

impl Store {
    pub(super) fn read(&mut self, operation: ReadOperation<Model>, fails: bool) -> ReadCompletion<'static, Model> {
        match operation {
            ReadOperation::Open { .. } if fails => ReadCompletion::Opened(Err(self.injected())),
            ReadOperation::Open { name, offset, length, tag, inline } => {
                ReadCompletion::Opened(self.open(&name, offset, length, tag.as_ref(), inline).map_err(refused))
            }
            ReadOperation::Load { file, at, bytes, digest, remembered, form } => {
                assert!(!(remembered && self.doubted.contains(&file.0)), "a second reading that reads nothing");
                assert!(
                    !matches!(form, Form::Hashed(_)) || !remembered && digest.is_some(),
                    "a CRC that is remembered has no SHA-256"
                );
                assert!(
                    file.is_sendable() || !matches!(form, Form::Cached),
                    "a file that may never answer is sent from"
                );
                let loaded = self.load(file, at, bytes, digest, fails);
                ReadCompletion::Loaded(loaded.map(|loaded| match form {
                    Form::Bytes(chunk) => self.copied(file, at, loaded, chunk),
                    Form::Hashed(sha256) => self.hashed(file, at, loaded, sha256),
                    Form::Cached | Form::Background => loaded,
                }))
            }
            ReadOperation::Extent { .. } if fails => ReadCompletion::Laid(Err(self.injected())),
            ReadOperation::Extent { file, at, end } => ReadCompletion::Laid(Ok(self.data_in(file, at..end))),
            ReadOperation::Check { file } if !fails && self.dice.happens(self.doubt_rate) => {
                self.doubted.insert(file.0);
                if self.meddles {
                    Arc::make_mut(&mut self.files[file.0])[0] ^= 1;
                }
                ReadCompletion::Checked(Ok(Stability::Doubtful))
            }
            ReadOperation::Check { .. } => {
                ReadCompletion::Checked(Ok(if fails { Stability::Changed } else { Stability::Same }))
            }
            ReadOperation::Probe if fails => ReadCompletion::Probed(Err(self.injected())),
            ReadOperation::Probe => ReadCompletion::Probed(Ok(())),
            ReadOperation::Room { .. } if fails => ReadCompletion::RoomFound(Err(self.injected())),
            ReadOperation::Room { .. } => ReadCompletion::RoomFound(Ok(ROOM)),
            ReadOperation::Stat { .. } if fails => ReadCompletion::Found(Err(self.injected())),
            ReadOperation::Stat { name } => ReadCompletion::Found(self.status(&name).map_err(refused)),
            ReadOperation::List { .. } | ReadOperation::ListMore { .. } if fails => {
                ReadCompletion::Listed(Err(self.injected()))
            }
            ReadOperation::List { name } => {
                let entries = self.tree.entries(name.as_ref()).map_err(refused);
                ReadCompletion::Listed(entries.map(|entries| self.list_on(entries)))
            }
            ReadOperation::ListMore { dir } => ReadCompletion::Listed(Ok(self.list_on(dir.0))),
            ReadOperation::Measure(_) if fails => ReadCompletion::Measured(Err(self.injected())),
            ReadOperation::Measure(resume) => ReadCompletion::Measured(self.measure(&resume)),
        }
    }

    /// Looks how far an upload is: whoever has it keeps it.
    fn measure(&self, wanted: &Resume) -> Result<Progress, StoreError> {
        let Some(known) = self.kept.get(&wanted.id) else { return Err(StoreError::of(ErrorKind::NoUpload)) };
        known.check(wanted)?;
        Ok(match &known.kept {
            Kept::Published { size, crc, tag } => {
                Progress::Published(Published { size: *size, crc: *crc, tag: tag.clone() })
            }
            Kept::Aside { offset, .. } => match known.held_by {
                // Its journal says so before it gets its name.
                Some(held) if self.uploads[held.0].whole => Progress::Kept(self.uploads[held.0].data.len() as u64),
                _ => Progress::Kept(*offset),
            },
        })
    }

    pub(super) fn status(&self, name: &Name) -> Result<Status, Code> {
        Ok(match self.tree.find(name.as_str())? {
            crate::tree::Node::Dir(mode) => Status::Directory { mtime: Some(some_time()), mode: Some(*mode) },
            crate::tree::Node::File { .. } => Status::File(self.tree.file_version(name.as_str())?.1),
        })
    }

    pub(super) fn open(
        &mut self,
        name: &Name,
        offset: u64,
        length: Option<u64>,
        tag: Option<&ferry_wire::Tag>,
        inline: u64,
    ) -> Result<Opened<'static, FileId>, Code> {
        let (data, version) = self.tree.file_version(name.as_str())?;
        if tag.is_some_and(|tag| *tag != version.tag) {
            return Err(Code::Changed);
        }
        let size = data.len() as u64;
        if offset > size {
            return Err(Code::BadRange);
        }
        let end = offset + length.unwrap_or(u64::MAX).min(size - offset);
        if end - offset <= inline {
            let bytes = data[offset as usize..end as usize].to_vec();
            // Of every other length it is known.
            let crc = bytes.len().is_multiple_of(2).then(|| ferry_wire::Crc32::of(&bytes));
            return Ok(Opened { version, content: Content::Inline { bytes: bytes.into(), crc } });
        }
        self.files.push(data);
        let file = FileId(self.files.len() - 1);
        let is_sendable = file.is_sendable();
        let is_sparse = self.dice.happens(700);
        Ok(Opened { version, content: Content::Range { file, start: offset, end, is_sendable, is_sparse } })
    }

    pub(super) fn load(
        &mut self,
        file: FileId,
        at: u64,
        bytes: u64,
        mut digest: Option<Digest>,
        fails: bool,
    ) -> Result<Loaded, StoreError> {
        assert!(bytes > 0, "nothing to load");
        if fails {
            // Cut short by somebody else, or a disk that fails.
            return match self.dice.happens(500) {
                true => Ok(Loaded { piece: Piece::Cached(0), digest }),
                false => Err(self.injected()),
            };
        }
        let bytes = bytes.min(self.load_bytes);
        let bytes = if self.dice.happens(300) { self.dice.between(1, bytes as usize) as u64 } else { bytes };
        if let Some(digest) = &mut digest {
            digest.update(&self.files[file.0][at as usize..(at + bytes) as usize]);
        }
        Ok(Loaded { piece: Piece::Cached(bytes), digest })
    }

    /// Returns the first stretch that is no zeros, as coarse as a file system has it; or all, as one that can't tell.
    fn data_in(&mut self, file: FileId, range: Range<u64>) -> Range<u64> {
        const BLOCK_BYTES: usize = 4 << 10;
        if self.dice.happens(100) {
            return range;
        }
        let data = &self.files[file.0];
        let is_data = |at: &usize| data[*at..data.len().min(*at + BLOCK_BYTES)].iter().any(|byte| *byte != 0);
        let first = range.start as usize / BLOCK_BYTES * BLOCK_BYTES;
        let blocks = || (first..range.end as usize).step_by(BLOCK_BYTES);
        let Some(start) = blocks().find(is_data) else { return range.end..range.end };
        let end = blocks().find(|at| *at > start && !is_data(at)).unwrap_or(usize::MAX);
        (start as u64).max(range.start)..(end as u64).min(range.end)
    }

    fn hashed(&self, file: FileId, at: u64, loaded: Loaded, mut sha256: Box<ferry_wire::Sha256Digest>) -> Loaded {
        let bytes = loaded.piece.bytes();
        sha256.update(&self.files[file.0][at as usize..(at + bytes) as usize]);
        Loaded { piece: Piece::Hashed(sha256, bytes), digest: loaded.digest }
    }

    pub(super) fn copied(&self, file: FileId, at: u64, loaded: Loaded, mut chunk: Chunk) -> Loaded {
        let bytes = loaded.piece.bytes();
        let end = chunk.filled + bytes as usize;
        let content = &self.files[file.0][at as usize..(at + bytes) as usize];
        chunk.memory[chunk.filled..end].copy_from_slice(content);
        chunk.filled = end;
        Loaded { piece: Piece::Bytes(chunk, bytes), digest: loaded.digest }
    }

    pub(super) fn list_on(&mut self, mut entries: Vec<DirEntry>) -> Listed<DirId> {
        let count = if self.dice.happens(500) { entries.len() } else { self.dice.below(entries.len() + 1) };
        let rest = entries.split_off(count);
        let more = (!rest.is_empty()).then_some(DirId(rest));
        Listed { entries, more }
    }
}
