//! Banner, hello and welcome: how a session begins on a stream that may hold bytes of an earlier one.

/// Version of the session and frame layer.
pub const LINK_VERSION: u16 = 1;

const MAGIC: &[u8; 4] = b"IVM1";
const HELLO_BYTES: usize = 25;
/// Bytes of a banner.
pub const BANNER_BYTES: usize = 21;

/// What the host said hello with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Repeated in the welcome, so that the host knows its own session.
    pub nonce: [u8; 16],
    /// The host's version of the link.
    pub version: u16,
}

/// The bytes that say "an agent is here".
pub fn banner(boot_id: &[u8; 16]) -> [u8; BANNER_BYTES] {
    let mut bytes = [0; BANNER_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4] = b'B';
    bytes[5..].copy_from_slice(boot_id);
    bytes
}

/// The answer to a hello.
pub fn welcome(hello: &Hello) -> [u8; HELLO_BYTES] {
    encode(b'W', &hello.nonce, LINK_VERSION)
}

/// The host's greeting; here for tests and tools.
pub fn hello(nonce: &[u8; 16]) -> [u8; HELLO_BYTES] {
    encode(b'H', nonce, LINK_VERSION)
}

fn encode(letter: u8, nonce: &[u8; 16], version: u16) -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4] = letter;
    bytes[5..21].copy_from_slice(nonce);
    bytes[21..23].copy_from_slice(&version.to_le_bytes());
    bytes
}

/// What was found in the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Search {
    /// A hello; so many bytes, the hello included, are done with.
    Found(Hello, usize),
    /// None yet; so many bytes cannot be part of one.
    Missing(usize),
}

/// Looks for the first whole hello.
pub fn find_hello(bytes: &[u8]) -> Search {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some(hello) = parse_hello(rest) {
            return Search::Found(hello, at + HELLO_BYTES);
        }
        if rest.len() < HELLO_BYTES && could_begin_hello(rest) {
            break;
        }
        at += 1;
    }
    Search::Missing(at)
}

fn could_begin_hello(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(b"IVM1H")
        .all(|(seen, expected)| seen == expected)
}

fn parse_hello(bytes: &[u8]) -> Option<Hello> {
    let bytes = bytes.get(..HELLO_BYTES)?;
    if !could_begin_hello(bytes) || bytes[23..25] != [0, 0] {
        return None;
    }
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&bytes[5..21]);
    Some(Hello {
        nonce,
        version: u16::from_le_bytes([bytes[21], bytes[22]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn a_hello_is_found_behind_bytes_of_the_past() {
        let mut bytes = b"\x00IVM1IVM1Bleft over".to_vec();
        let before = bytes.len();
        bytes.extend(hello(&NONCE));
        bytes.extend(b"frames");
        assert_eq!(
            find_hello(&bytes),
            Search::Found(
                Hello {
                    nonce: NONCE,
                    version: 1
                },
                before + 25
            )
        );
    }

    #[test]
    fn a_hello_in_two_pieces_is_waited_for() {
        let mut bytes = b"junk".to_vec();
        bytes.extend(&hello(&NONCE)[..24]);
        assert_eq!(find_hello(&bytes), Search::Missing(4));
        assert_eq!(find_hello(b"IVM"), Search::Missing(0));
        assert_eq!(find_hello(b"junk"), Search::Missing(4));
    }

    #[test]
    fn a_hello_with_a_set_reserved_field_is_none() {
        let mut bytes = hello(&NONCE);
        bytes[24] = 1;
        assert!(matches!(find_hello(&bytes), Search::Missing(25)));
    }
}
