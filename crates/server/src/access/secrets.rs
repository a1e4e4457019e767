//! The secrets of users, passwords and tokens, and the hashes that are kept of them.
//!
//! A password is kept as an argon2id hash (a PHC string), a token as its SHA-256. A token is 128
//! random bits, which nobody tries out, so it needs no slow hash. Both are compared in constant
//! time. Secrets are wiped from memory when they are dropped, and nothing here shows one.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::phc};
use ferry_wire::Secret;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

/// The most memory that checking a password may take, in KiB: twice that is taken where two are
/// checked at one time.
const MAX_MEMORY_KIB: u32 = 256 << 10;

/// The most passes over its memory.
const MAX_PASSES: u32 = 64;

/// The most lanes. They are worked off one after another here, so they cost nothing; more is a mistake.
const MAX_LANES: u32 = 64;

/// The most memory times passes, in KiB: some seconds of a processor.
const MAX_WORK_KIB: u64 = 2 << 20;

/// The shortest hash that proves anything.
const MIN_HASH_BYTES: usize = 16;

/// The longest name of a function that makes hashes.
const MAX_KIND_BYTES: usize = 16;

/// The beginning of a token's hash in the users file.
const TOKEN_PREFIX: &str = "sha256:";

/// Random bytes of a token, and of the salt of a password.
const RANDOM_BYTES: usize = 16;

/// Makes a token of 128 random bits: 32 hex digits.
///
/// # Errors
///
/// Fails where the system has no random bits to give.
pub fn random_token() -> Result<Secret, getrandom::Error> {
    Ok(Secret::of_random(&*random()?))
}

fn random() -> Result<Zeroizing<[u8; RANDOM_BYTES]>, getrandom::Error> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    getrandom::fill(&mut *random)?;
    Ok(random)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    text.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// An argon2id hash of a password.
///
/// Its cost is bounded, so that no users file can keep a helper busy for long: at most 256 MiB of
/// memory, 64 passes, and 2 GiB in memory times passes.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    params: Params,
    salt: Box<[u8]>,
    output: Box<[u8]>,
}

/// Why a hash can't be used or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not a PHC string.
    #[error("this is no password hash; make one with 'ferryd user passwd'")]
    Malformed,
    /// Another function than argon2id.
    #[error("hashes of kind '{0}' are not known, only argon2id; make one with 'ferryd user passwd'")]
    UnknownKind(String),
    /// Another version than 19, or none.
    #[error("only version 19 (v=19) of argon2id is known; make a hash with 'ferryd user passwd'")]
    UnknownVersion,
    /// No salt, no hash, or a hash of less than 16 bytes.
    #[error("salt or hash is missing or too short; make a hash with 'ferryd user passwd'")]
    Incomplete,
    /// More than is taken from a users file.
    #[error(
        "it costs too much: at most 256 MiB (m=262144), 64 passes (t=64), 64 lanes (p=64), and m times t up to 2097152"
    )]
    TooCostly,
    /// Not `sha256:` and 64 hex digits.
    #[error("a token is kept as 'sha256:' and 64 hex digits; make one with 'ferryd user token'")]
    MalformedToken,
    /// The system has no memory to check a password with, or no random bits to make a hash with.
    #[error("the system has no memory, or no random bits, for it")]
    NoResources,
}

impl PasswordHash {
    /// Reads a PHC string.
    ///
    /// # Errors
    ///
    /// Where it is none of an argon2id hash whose cost is within the bounds.
    pub fn parse(text: &str) -> Result<PasswordHash, HashError> {
        // Nothing else is repeated: it could be the password itself.
        let is_kind =
            |kind: &str| kind.len() <= MAX_KIND_BYTES && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let kind = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).map(|(kind, _)| kind);
        match kind.filter(|kind| is_kind(kind)) {
            None => return Err(HashError::Malformed),
            Some("argon2id") => {}
            Some(kind) => return Err(HashError::UnknownKind(kind.to_owned())),
        }
        let hash = phc::PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
        if hash.version != Some(Version::V0x13.into()) {
            return Err(HashError::UnknownVersion);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        if params.m_cost() > MAX_MEMORY_KIB
            || params.t_cost() > MAX_PASSES
            || params.p_cost() > MAX_LANES
            || work > MAX_WORK_KIB
        {
            return Err(HashError::TooCostly);
        }
        match (hash.salt, hash.hash) {
            (Some(salt), Some(output)) if output.len() >= MIN_HASH_BYTES => {
                Ok(PasswordHash { params, salt: (*salt).into(), output: output.as_bytes().into() })
            }
            _ => Err(HashError::Incomplete),
        }
    }

    /// Makes a hash of `secret` and a random salt, at the usual cost: 19 MiB and two passes, some 30 ms.
    ///
    /// # Errors
    ///
    /// Where the system has no random bits or no memory for it.
    pub fn make(secret: &Secret) -> Result<String, HashError> {
        let salt = random().map_err(|_| HashError::NoResources)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
        let hash = argon2.hash_password_with_salt(secret.expose().as_bytes(), &*salt);
        hash.map(|hash| hash.to_string()).map_err(|_| HashError::NoResources)
    }

    /// Returns a hash that no secret fits, which takes the usual cost to find out.
    #[must_use]
    pub(super) fn of_nobody() -> PasswordHash {
        let output = [0; Params::DEFAULT_OUTPUT_LEN].into();
        PasswordHash { params: Params::DEFAULT, salt: [0; RANDOM_BYTES].into(), output }
    }

    /// Returns whether `secret` is the one that was hashed. It takes as much memory and time as the
    /// hash says: never call it on the loop.
    ///
    /// # Errors
    ///
    /// Where the system has no memory for it.
    pub fn fits(&self, secret: &Secret) -> Result<bool, HashError> {
        #[cfg(test)]
        tests::note_made(&self.params);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let mut made = Zeroizing::new(vec![0; self.output.len()]);
        argon2
            .hash_password_into(secret.expose().as_bytes(), &self.salt, &mut made)
            .map_err(|_| HashError::NoResources)?;
        Ok(made.ct_eq(&self.output).into())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash of `secret`.
    #[must_use]
    pub fn of(secret: &Secret) -> TokenHash {
        TokenHash(Sha256::digest(secret.expose().as_bytes()).into())
    }

    /// Reads `sha256:` and 64 hex digits of either case.
    ///
    /// # Errors
    ///
    /// Where it is something else.
    pub fn parse(text: &str) -> Result<TokenHash, HashError> {
        let hex = text.strip_prefix(TOKEN_PREFIX).filter(|hex| hex.len() == 64).ok_or(HashError::MalformedToken)?;
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            match (value(digits[0]), value(digits[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(HashError::MalformedToken),
            }
        }
        Ok(TokenHash(hash))
    }

    /// Returns whether this is the hash of one of `tokens`. The time says nothing of which.
    #[must_use]
    pub(super) fn is_among(&self, tokens: &[TokenHash]) -> bool {
        let found = tokens.iter().fold(Choice::from(0), |found, token| found | self.0.ct_eq(&token.0));
        found.into()
    }
}

/// As the users file has it.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = String::with_capacity(64);
        push_hex(&mut hex, &self.0);
        write!(f, "{TOKEN_PREFIX}{hex}")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The cost of each hash that this thread has made.
        static MADE: RefCell<Vec<(u32, u32, u32)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note_made(params: &Params) {
        MADE.with_borrow_mut(|made| made.push((params.m_cost(), params.t_cost(), params.p_cost())));
    }

    impl PasswordHash {
        /// Takes the costs (memory, passes, lanes) of the hashes that this thread has made since
        /// this was last asked.
        pub(crate) fn made() -> Vec<(u32, u32, u32)> {
            MADE.take()
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::from_bytes(text.as_bytes()).unwrap()
    }

    /// Made by the reference implementation: `printf %s password | argon2 somesalt -id -k 32 -t 1 -p 1 -e`.
    const KNOWN: &str = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";

    #[test]
    fn what_is_made_of_a_password_fits_it_alone() {
        let made = PasswordHash::make(&secret("two words")).unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert_ne!(made, PasswordHash::make(&secret("two words")).unwrap(), "salts are random");
        let hash = PasswordHash::parse(&made).unwrap();
        assert_eq!(hash.fits(&secret("two words")), Ok(true));
        for other in ["two word", "two words ", "Two words", "two  words"] {
            assert_eq!(hash.fits(&secret(other)), Ok(false), "{other:?}");
        }
        assert_eq!(PasswordHash::of_nobody().fits(&secret("two words")), Ok(false));
    }

    #[test]
    fn hashes_of_the_reference_implementation_are_understood() {
        let hash = PasswordHash::parse(KNOWN).unwrap();
        assert_eq!(hash.fits(&secret("password")), Ok(true));
        assert_eq!(hash.fits(&secret("passwort")), Ok(false));
    }

    #[test]
    fn hashes_that_are_unknown_weak_or_too_costly_are_refused() {
        let salt_and_hash = KNOWN.split("p=1").nth(1).unwrap();
        let with = |kind: &str, version: &str, params: &str| format!("${kind}{version}${params}{salt_and_hash}");
        assert!(PasswordHash::parse(&with("argon2id", "$v=19", "m=32,t=1,p=1")).is_ok());
        for (text, error) in [
            (String::new(), HashError::Malformed),
            ("secret".into(), HashError::Malformed),
            ("$argon2id$".into(), HashError::Malformed),
            (with("argon2id", "$v=19", "m=x,t=1,p=1"), HashError::Malformed),
            (with("argon2id", "$v=19", "m=32,t=1,p=1,z=1"), HashError::Malformed),
            (with("argon2id", "$v=19", "m=32,t=0,p=1"), HashError::Malformed),
            (with("argon2i", "$v=19", "m=32,t=1,p=1"), HashError::UnknownKind("argon2i".into())),
            ("$2b$12$abcdefghijklmnopqrstuv".into(), HashError::UnknownKind("2b".into())),
            ("$6$salt$hash".into(), HashError::UnknownKind("6".into())),
            (with("argon2id", "$v=16", "m=32,t=1,p=1"), HashError::UnknownVersion),
            (with("argon2id", "", "m=32,t=1,p=1"), HashError::UnknownVersion),
            ("$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ".into(), HashError::Incomplete),
            ("$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzYWw".into(), HashError::Incomplete),
            (with("argon2id", "$v=19", "m=262145,t=1,p=1"), HashError::TooCostly),
            (with("argon2id", "$v=19", "m=4294967295,t=1,p=1"), HashError::TooCostly),
            (with("argon2id", "$v=19", "m=32,t=65,p=1"), HashError::TooCostly),
            (with("argon2id", "$v=19", "m=32,t=4294967295,p=1"), HashError::TooCostly),
            (with("argon2id", "$v=19", "m=262144,t=9,p=1"), HashError::TooCostly),
            (with("argon2id", "$v=19", "m=8000,t=1,p=65"), HashError::TooCostly),
        ] {
            assert_eq!(PasswordHash::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn tokens_are_kept_as_sha256_of_their_text() {
        // printf %s abc | sha256sum
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = TokenHash::parse(known).unwrap();
        assert_eq!(hash, TokenHash::of(&secret("abc")));
        assert_eq!(hash.to_string(), known);
        assert_eq!(TokenHash::parse(&known.replace("ba78", "BA78")), Ok(hash));
        let others = [TokenHash::of(&secret("a")), TokenHash::of(&secret("b"))];
        assert!(!hash.is_among(&others) && !hash.is_among(&[]));
        assert!(hash.is_among(&[others[0], hash, others[1]]) && hash.is_among(&[hash]));
        for wrong in ["", "abc", "sha256:", "sha512:ba78", &known[..70], &format!("{known}0"), &known.replace('f', "g")]
        {
            assert_eq!(TokenHash::parse(wrong), Err(HashError::MalformedToken), "{wrong}");
        }
        assert_eq!(TokenHash::parse(&known.replace("ba78", "ba\u{e9}")), Err(HashError::MalformedToken));
    }

    #[test]
    fn a_token_is_128_random_bits_as_hex() {
        let tokens: Vec<_> = (0..64).map(|_| random_token().unwrap()).collect();
        for (at, token) in tokens.iter().enumerate() {
            assert_eq!(token.expose().len(), 32);
            assert!(token.expose().bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
            assert!(!tokens[..at].contains(token), "the same twice");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let hash = PasswordHash::parse(KNOWN).unwrap();
        let shown = format!("{:?} {:?} {hash:?}", secret("hunter2"), TokenHash::of(&secret("hunter2")));
        assert_eq!(shown, "Secret(..) TokenHash(..) PasswordHash(..)");
    }
}
