//! The output of a server, read again: every byte must be part of the protocol.

use ferry_wire::{BodyLine, Digest, Frame, Framer, Greeting, Reply};

/// Follows a server's stream.
#[derive(Default)]
pub(crate) struct Listener {
    framer: Framer,
    pending: Vec<u8>,
    greeted: bool,
    /// The body that may be going on.
    body: Option<Digest>,
}

impl Listener {
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut used = 0;
        while let Some((frame, length)) = self.framer.next(&pending[used..]).expect("lines of legal length") {
            used += length;
            match frame {
                Frame::Raw(raw) => self.body.as_mut().expect("a block belongs to a body").update(raw),
                Frame::Line(line) => self.line(line),
            }
        }
        self.pending = pending[used..].to_vec();
    }

    fn line(&mut self, line: &[u8]) {
        let shown = String::from_utf8_lossy(line).into_owned();
        if !std::mem::replace(&mut self.greeted, true) {
            assert!(Greeting::parse(line).is_ok(), "{shown}");
            return;
        }
        match BodyLine::parse(line) {
            Ok(BodyLine::Data(bytes)) => {
                assert!(self.body.is_some(), "a block without a reply: {shown}");
                self.framer.expect_raw(bytes);
            }
            Ok(BodyLine::Hole(bytes)) => {
                self.body.as_mut().expect("a hole belongs to a body").append_zeros(bytes);
            }
            Ok(BodyLine::End(crc)) => {
                let body = self.body.take().expect("an END belongs to a body");
                assert_eq!(crc, Some(body.crc()), "the CRC of a body");
            }
            _ => match Reply::parse(line).unwrap_or_else(|error| panic!("{error}")) {
                Reply::File(_) | Reply::Listing => self.body = Some(Digest::new()),
                _ => self.body = None,
            },
        }
    }
}
