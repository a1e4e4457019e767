//! The content of files on a terminal.

use std::io::{self, Write};

use ferry_wire::escaped_bytes;

/// Passes text on with all that could drive a terminal written out. Lines and tabs stay.
pub(crate) struct Safe<W> {
    sink: W,
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl<W: Write> Safe<W> {
    pub(crate) fn new(sink: W) -> Safe<W> {
        Safe { sink, rest: Vec::new() }
    }

    fn show(&mut self, text: &[u8]) -> io::Result<()> {
        for run in text.split_inclusive(|byte| matches!(byte, b'\n' | b'\t')) {
            match run.split_last() {
                Some((end @ (b'\n' | b'\t'), run)) => {
                    write!(self.sink, "{}", escaped_bytes(run))?;
                    self.sink.write_all(&[*end])?;
                }
                _ => write!(self.sink, "{}", escaped_bytes(run))?,
            }
        }
        Ok(())
    }
}

/// Bytes at the end of `text` that may be the beginning of a character.
fn unfinished(text: &[u8]) -> usize {
    const LONGEST_BYTES: usize = 4;
    let from = text.len().saturating_sub(LONGEST_BYTES - 1);
    (from..text.len())
        .find(|&at| {
            str::from_utf8(&text[at..]).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .map_or(0, |at| text.len() - at)
}

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = std::mem::take(&mut self.rest);
        text.extend_from_slice(bytes);
        let whole = text.len() - unfinished(&text);
        self.rest = text.split_off(whole);
        self.show(&text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        self.show(&rest)?;
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_what_drives_a_terminal_does_not_wherever_it_is_cut() {
        let text = "Grüße,\t世界\n\u{1b}[2Jx\u{202e}\r\n".as_bytes();
        for cut in 0..text.len() {
            let mut shown = Vec::new();
            let mut safe = Safe::new(&mut shown);
            safe.write_all(&text[..cut]).unwrap();
            safe.write_all(&text[cut..]).unwrap();
            safe.write_all(b"\xff\xe4").unwrap();
            safe.flush().unwrap();
            let expected = "Grüße,\t世界\n\\u{1b}[2Jx\\u{202e}\\u{d}\n\\xff\\xe4";
            assert_eq!(String::from_utf8(shown).unwrap(), expected, "{cut}");
        }
    }
}
