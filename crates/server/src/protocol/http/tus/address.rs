//! The address of one upload.
//!
//! It carries all that the upload is, but for its bytes: `/NAME?tus=ID&length=BYTES`. So nothing of it has to be kept
//! before bytes come, and any server of the root goes on with it. Nothing in it is trusted: it asks for no more than a
//! RESUME of ferry's protocol does, whose words it has.

use std::fmt;

use ferry_wire::{Id, Name, limits::MAX_INTEGER, parse_integer};

use super::{
    super::message::{Encoded, Refusal, StatusCode, Target},
    fields::Metadata,
};

/// See the [module documentation](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name that the upload will have.
    pub name: Name,
    /// The upload.
    pub id: Id,
    /// Bytes of the whole file.
    pub length: u64,
    /// Its name must be free when it gets it.
    pub if_none: bool,
    /// The client's words on the file, with its time.
    pub metadata: Option<Metadata>,
}

impl Address {
    /// Returns the address that `target` is.
    ///
    /// # Errors
    ///
    /// Fails where no upload can have it: 404.
    pub fn of(target: &Target) -> Result<Address, Refusal> {
        Address::parse(target).ok_or_else(none)
    }

    fn parse(target: &Target) -> Option<Address> {
        let name = target.name().filter(|_| !target.ends_in_slash())?.clone();
        let id = Id::new(&target.value("tus")?).ok()?;
        let length = parse_integer(target.value("length")?.as_bytes()).filter(|&length| length <= MAX_INTEGER)?;
        let if_none = match target.value("if").as_deref() {
            None => false,
            Some("none") => true,
            Some(_) => return None,
        };
        let metadata = match target.value("metadata") {
            None => None,
            Some(text) => Some(Metadata::parse(&text)?),
        };
        Some(Address { name, id, length, if_none, metadata })
    }
}

/// Returns the answer where no upload has the address.
pub(super) fn none() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no upload has this address: it was never begun, or is gone")
}

/// The path and the query, from the root of the server.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { name, id, length, if_none, metadata } = self;
        write!(f, "/{}?tus={id}&length={length}", Encoded(name.as_str()))?;
        if *if_none {
            f.write_str("&if=none")?;
        }
        match metadata {
            Some(metadata) => write!(f, "&metadata={}", Encoded(metadata.as_str())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::message::HeadReader, *};

    fn parse(address: &str) -> Option<Address> {
        let input = format!("HEAD {address} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, _) = HeadReader::default().read(input.as_bytes()).unwrap().unwrap();
        Address::of(&head.target().unwrap()).ok()
    }

    #[test]
    fn an_address_comes_back_as_it_was_given() {
        for name in ["a", "dir/gr\u{fc}n & b?c=d#", "100%&tus=x"] {
            for metadata in [None, Metadata::parse("filename YS50eHQ=, mtime MTcwMC41,empty")] {
                for if_none in [false, true] {
                    let (name, id) = (Name::new(name).unwrap(), Id::new("0af-_Z").unwrap());
                    let address = Address { name, id, length: MAX_INTEGER, if_none, metadata: metadata.clone() };
                    assert_eq!(parse(&address.to_string()), Some(address));
                }
            }
        }
    }

    #[test]
    fn the_longest_address_fits_a_request_line() {
        let name = Name::new(&"\u{1F600}".repeat(256)).unwrap();
        let metadata = format!("a {}", "++++".repeat(255));
        let (id, metadata) = (Id::new(&"x".repeat(64)).unwrap(), Metadata::parse(&metadata));
        assert!(metadata.is_some());
        let address = Address { name, id, length: MAX_INTEGER, if_none: true, metadata };
        assert_eq!(parse(&address.to_string()), Some(address));
    }

    #[test]
    fn addresses_that_no_upload_has() {
        for address in [
            "/?tus=x&length=5",
            "/a/?tus=x&length=5",
            "/a?tus=&length=5",
            "/a?tus=x.y&length=5",
            "/a?tus=x",
            "/a?length=5",
            "/a?tus=x&length=",
            "/a?tus=x&length=+5",
            "/a?tus=x&length=9223372036854775808",
            "/a?tus=x&length=5&if=any",
            "/a?tus=x&length=5&metadata=a%20b",
            "/a?tus=x&length=5&metadata=",
        ] {
            assert_eq!(parse(address), None, "{address}");
        }
    }
}
