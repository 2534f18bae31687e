//! Texts for people, bounded: what callers, models and files hold may be huge, and is quoted in errors
//! and in the log.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write},
};

/// Stands where a text was cut, and says so.
pub const CUT: &str = " … (cut)";

/// `text` if it has at most `bytes`; otherwise its start and [`CUT`], together no longer than that.
pub fn bounded(text: &str, bytes: usize) -> Cow<'_, str> {
    bounded_by(text, bytes, char::len_utf8)
}

/// The same where characters take other numbers of bytes on their way than they have.
pub fn bounded_by(text: &str, bytes: usize, width: impl Fn(char) -> usize) -> Cow<'_, str> {
    let mark: usize = CUT.chars().map(&width).sum();
    let room = bytes.saturating_sub(mark);
    // How much stays where the text is cut, and how wide all that was looked at is.
    let (mut kept, mut wide) = (0, 0);
    for (start, c) in text.char_indices() {
        wide += width(c);
        if wide <= room {
            kept = start + c.len_utf8();
        }
        if wide > bytes {
            return Cow::Owned(format!("{}{CUT}", text.get(..kept).unwrap_or_default()));
        }
    }
    Cow::Borrowed(text)
}

/// What `value` writes, bounded in the same way. The rest is not even made: a huge value costs no more
/// than a small one.
pub fn bounded_display(value: impl Display, bytes: usize) -> String {
    let mut start = Start { text: String::new(), room: bytes, full: false };
    // It fails where there is no room any more.
    let _ = write!(start, "{value}");
    let Start { mut text, full, .. } = start;
    if full {
        text.truncate(text.floor_char_boundary(bytes.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

/// The start of what is written to it.
struct Start {
    text: String,
    room: usize,
    full: bool,
}

impl Write for Start {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let fits = more.floor_char_boundary(self.room);
        self.text.push_str(more.get(..fits).unwrap_or_default());
        self.room -= fits;
        self.full = fits < more.len();
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

/// A shape as `[1, 2, 3]`; of very many dimensions the first and their number.
pub struct Shape<'a, T>(pub &'a [T]);

impl<T: Display> Display for Shape<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More than any model's tensors have.
        const MOST: usize = 16;
        f.write_str("[")?;
        for (i, dimension) in self.0.iter().take(MOST).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{dimension}")?;
        }
        match self.0.len() {
            0..=MOST => f.write_str("]"),
            all => write!(f, ", …] ({all} dimensions)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        for text in ["", "short", "é\u{1f680}", "exactly twenty bytes"] {
            assert_eq!(bounded(text, 20), text);
            assert_eq!(bounded_display(text, 20), text);
        }
    }

    #[test]
    fn what_is_longer_is_cut_between_characters() {
        for bytes in CUT.len()..40 {
            for text in ["x".repeat(41), "é".repeat(21), "\u{1f680}".repeat(11)] {
                let cut = bounded(&text, bytes);
                assert!(cut.len() <= bytes && cut.len() + 4 > bytes, "{bytes}: {cut}");
                let start = cut.strip_suffix(CUT).unwrap();
                assert!(text.starts_with(start), "{cut}");
                assert_eq!(bounded_display(&text, bytes), cut);
            }
        }
    }

    #[test]
    fn characters_count_as_they_travel() {
        let nine = |c: char| if c.is_ascii() { 1 } else { 9 };
        // The mark itself has one such character.
        assert_eq!(bounded_by("語語語語", 36, nine), "語語語語");
        assert_eq!(bounded_by("語語語語", 35, nine), "語語 … (cut)");
    }

    #[test]
    fn what_is_cut_is_not_written_further() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("more and ")?;
                }
            }
        }
        assert_eq!(bounded_display(Endless, 30), "more and more and m … (cut)");
    }

    #[test]
    fn shapes_of_many_dimensions_are_short() {
        assert_eq!(Shape::<i64>(&[]).to_string(), "[]");
        assert_eq!(Shape(&[1, -1, 3]).to_string(), "[1, -1, 3]");
        let many = Shape(&[7_u64; 30_000_000]).to_string();
        assert!(
            many.starts_with("[7, 7, ") && many.ends_with(", …] (30000000 dimensions)"),
            "{many}"
        );
    }
}
