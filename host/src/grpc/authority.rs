//! The authority of calls, where the library of HTTP/2 would reset them for it. gRPC's C core (Python, C++, Ruby,
//! PHP) writes there what it was told to connect to: a Unix socket's path, escaped, `run%2Ftms.sock`, or
//! several addresses, `10.0.0.1:50000,10.0.0.2:50000`. Nothing here reads it, so that `-` takes the place of
//! what the library does not understand before it sees it.

/// How the field's name begins that is written out: its length in HPACK, then itself (RFC 7541, section 6.2).
const NAME: &[u8] = b"\x0a:authority";

/// What HPACK's first byte of a length can hold (section 5.1), and the bit that says that Huffman's code follows.
const SHORT: u8 = 0x7f;
const HUFFMAN: u8 = 0x80;

/// Where in a call's headers the next byte is.
#[derive(Debug)]
enum At {
    /// So many bytes were the field's name.
    Name(usize),
    Length,
    /// The length goes on, in groups of seven bits.
    Longer {
        length: usize,
        shift: u32,
    },
    Value {
        /// Its bytes that are left.
        left: usize,
        /// A first address has passed. Only one may have a port, or brackets.
        several: bool,
    },
}

impl At {
    /// The value begins.
    fn value(left: usize) -> Self {
        Self::Value { left, several: false }
    }
}

/// Follows the headers of a connection's calls.
#[derive(Debug)]
pub struct Authority(At);

impl Default for Authority {
    fn default() -> Self {
        Self(At::Name(0))
    }
}

impl Authority {
    /// A call's headers begin.
    pub fn begins(&mut self) {
        *self = Self::default();
    }

    /// Mends what has come of them.
    pub fn mend(&mut self, headers: &mut [u8]) {
        for byte in headers {
            self.0 = match self.0 {
                At::Name(had) if *byte == NAME[had] && had + 1 == NAME.len() => At::Length,
                At::Name(had) if *byte == NAME[had] => At::Name(had + 1),
                // No other place in the name could be its beginning.
                At::Name(_) => At::Name(usize::from(*byte == NAME[0])),
                // None of C core's is.
                At::Length if *byte & HUFFMAN != 0 => At::Name(0),
                At::Length if *byte == SHORT => At::Longer { length: usize::from(SHORT), shift: 0 },
                At::Length => At::value(usize::from(*byte)),
                At::Longer { length, shift } => {
                    // Longer than any path: the library refuses it.
                    let more = usize::from(*byte & SHORT) << shift.min(14);
                    match *byte & HUFFMAN {
                        0 => At::value(length + more),
                        _ => At::Longer { length: length + more, shift: shift + 7 },
                    }
                }
                At::Value { left: 0, .. } => At::Name(usize::from(*byte == NAME[0])),
                At::Value { left, several } => {
                    let several = several || *byte == b',';
                    if *byte == b'%' || (several && matches!(*byte, b',' | b':' | b'[' | b']')) {
                        *byte = b'-';
                    }
                    At::Value { left: left - 1, several }
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field as C core writes it.
    fn field(name: &str, value: &str) -> Vec<u8> {
        let mut field = vec![0x40, name.len() as u8];
        field.extend(name.as_bytes());
        match u8::try_from(value.len()).ok().filter(|length| *length < SHORT) {
            Some(length) => field.push(length),
            None => {
                let more = value.len() - usize::from(SHORT);
                field.extend([SHORT, more as u8 | HUFFMAN, (more >> 7) as u8]);
            }
        }
        field.extend(value.as_bytes());
        field
    }

    fn headers(authority: &str) -> Vec<u8> {
        let path = field(":path", "/a%2F/b");
        [path, field(":authority", authority), field("note", "100%, :authority 50%")].concat()
    }

    #[test]
    fn only_the_authority_is_mended_however_it_comes() {
        let long = "run%2F".repeat(40);
        let mended = |path: &str| (path.to_owned(), path.replace('%', "-"));
        let mut cases =
            ["run%2Ftms.sock", "", "localhost", "[::1]:50000", &long].map(mended).to_vec();
        cases.push(("10.0.0.1:1,10.0.0.2:2".to_owned(), "10.0.0.1:1-10.0.0.2-2".to_owned()));
        cases.push(("[::1]:1,[::1]:2".to_owned(), "[::1]:1----1--2".to_owned()));
        for (path, mended) in &cases {
            assert!(mended.is_empty() || mended.parse::<http::uri::Authority>().is_ok());
            let expected = headers(mended);
            for size in [1, 2, 7, 1000] {
                let mut given = headers(path);
                let mut authority = Authority::default();
                given.chunks_mut(size).for_each(|chunk| authority.mend(chunk));
                assert_eq!(given, expected, "{path} by {size}");
            }
        }
    }

    #[test]
    fn the_next_call_begins_anew() {
        let mut authority = Authority::default();
        authority.mend(&mut headers("a%2Fb")[..20]);
        authority.begins();
        let mut next = headers("c%2Fd");
        authority.mend(&mut next);
        assert_eq!(next, headers("c-2Fd"));
    }
}
