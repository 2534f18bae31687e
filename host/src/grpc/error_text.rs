//! The text of every error, fit to travel: bounded as it is encoded. All replies pass here, whoever made
//! the error: a service of ours, tonic, health or reflection.

use http::{HeaderMap, HeaderValue, header::HeaderName};
use tonic::Status;

use crate::text;

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The longest text, as it is encoded. A peer drops a reply whose headers are too long, and reports
/// RESOURCE_EXHAUSTED or a broken stream in place of the error: gRPC's C core (Python, C++, Ruby, PHP)
/// from 8 KiB on, grpc-java from 8 KiB, hyper and tonic from 16 KiB, nginx where they fill a buffer
/// of 4 to 8 KiB. What else a reply has fits beside this.
pub const MOST: usize = 4 << 10;

/// Cuts the text in a reply's headers or trailers, if it is too long.
pub fn fit(headers: &mut HeaderMap) {
    if headers.get(MESSAGE).is_none_or(|message| message.len() <= MOST) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else {
        return;
    };
    let short = text::bounded_by(status.message(), MOST, encoded);
    let fits = Status::new(status.code(), short).add_header(headers).is_ok();
    if !fits {
        headers.insert(MESSAGE, HeaderValue::from_static("the error's text cannot be sent"));
    }
}

/// How many bytes a character takes in the header: gRPC escapes each byte that is not plain as `%` and
/// two digits; tonic does so with these.
fn encoded(c: char) -> usize {
    match c {
        ' ' | '"' | '#' | '%' | '<' | '>' | '`' | '?' | '{' | '}' => 3,
        _ if c.is_ascii() && !c.is_ascii_control() => 1,
        _ => 3 * c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn travelled(text: &str) -> (HeaderMap, Status) {
        let mut headers = HeaderMap::new();
        Status::internal(text).add_header(&mut headers).unwrap();
        fit(&mut headers);
        let status = Status::from_header_map(&headers).unwrap();
        (headers, status)
    }

    #[test]
    fn short_texts_stay() {
        for text in ["", "no model `é`", &"x".repeat(MOST)] {
            assert_eq!(travelled(text).1.message(), text);
        }
    }

    #[test]
    fn long_texts_are_cut_as_they_are_encoded() {
        let characters = (0..=0x7f).chain([0x80, 0x7ff, 0x8a9e, 0x1f680]);
        for c in characters.filter_map(char::from_u32) {
            let (headers, status) = travelled(&c.to_string().repeat(2 * MOST));
            let length = headers[MESSAGE].len();
            assert!(length <= MOST && length + 12 > MOST, "{c:?}: {length}");
            assert_eq!(status.code(), Code::Internal);
            let start = status.message().strip_suffix(text::CUT).unwrap();
            assert!(start.chars().all(|other| other == c), "{c:?}: {start}");
        }
    }
}
