//! LESS.

use std::{
    io::{self, IsTerminal as _, Write},
    process::{ChildStdin, Stdio},
};

use ferry_client::{Error, Name, Part};
use ferry_wire::escaped;

use super::{Session, failures::Failures, names::Meant, programs::Program};
use crate::{
    command::Names,
    exit::{Exit, Failed, plain},
    safe::Safe,
};

const VERB: &str = "LESS";

/// The bytes that are asked for at a time. A person may leave in the middle of any file, and a download that is cut costs
/// the connection: no more than one piece is ever under way.
const PIECE_BYTES: u64 = 256 << 10;

impl Session {
    pub(super) fn page(&mut self, names: &Names) -> Result<(), Failed> {
        let mut failures = Failures::new(false);
        let meant = self.find(VERB, names, &mut failures)?;
        if !io::stdout().is_terminal() {
            return self.get_to_output(&meant, &mut failures);
        }
        for Meant { name, typed, .. } in meant {
            let Some(name) = name else {
                return Err(Failed::usage(format!("{VERB} {}: that is a directory", escaped(&typed))).about(typed));
            };
            self.page_one(&name)?;
        }
        Ok(())
    }

    /// Shows one file. The pager is there only once the first piece is.
    fn page_one(&mut self, name: &Name) -> Result<(), Failed> {
        let mut piece = Piece::default();
        self.next_piece(name, &mut piece)?;
        self.output.flush();
        let pager = Program::chosen(&["PAGER"], "less");
        let cannot = |error: &io::Error| {
            Failed::of(Exit::System, format!("{VERB}: cannot run {}: {}", pager.shown(), plain(error)))
        };
        let mut child = pager.command().stdin(Stdio::piped()).spawn().map_err(|error| cannot(&error))?;
        let fed = match child.stdin.take() {
            Some(input) => self.feed(name, &mut piece, input),
            None => Ok(()),
        };
        let status = child.wait().map_err(|error| cannot(&error))?;
        // Ctrl-C was for the pager, and it has ended.
        fed.and_then(|()| pager.judge(VERB, status))
    }

    /// Gives the pager piece after piece, until the file or its reader ends.
    fn feed(&mut self, name: &Name, piece: &mut Piece, input: ChildStdin) -> Result<(), Failed> {
        // Whatever is in a file, it must not drive a terminal.
        let mut input = Safe::new(input);
        loop {
            let written =
                input.write_all(&piece.bytes).and_then(|()| if piece.is_last { input.flush() } else { Ok(()) });
            match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => {
                    return Err(Failed::of(
                        Exit::System,
                        format!("{VERB}: cannot write to the pager: {}", plain(&error)),
                    ));
                }
                Ok(()) if piece.is_last => return Ok(()),
                Ok(()) => self.next_piece(name, piece)?,
            }
        }
    }

    /// Reads the piece after `piece`, of the same version. While a person reads, the server may have closed.
    fn next_piece(&mut self, name: &Name, piece: &mut Piece) -> Result<(), Failed> {
        let settings = self.settings.clone();
        let part = Part { length: Some(PIECE_BYTES), ..piece.next.clone() };
        let read = self.connected()?.patiently(&settings, &mut |_| {}, |client| {
            piece.bytes.clear();
            client.read(name, &part, &mut piece.bytes)
        });
        let read = read.map_err(|error: Error| self.failure_of(VERB, Some(name), &error))?;
        let offset = part.offset.saturating_add(read.size);
        piece.is_last = read.size < PIECE_BYTES || offset >= read.meta.size;
        piece.next = Part { offset, length: None, tag: Some(read.meta.tag) };
        Ok(())
    }
}

/// A piece of a file, verified.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// The part of the file that follows it.
    next: Part,
    is_last: bool,
}
