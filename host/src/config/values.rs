//! Values as people write them, in a file, a flag or a variable: bytes, times, counts, addresses.
//! Each says what may be written, and so does every error.

use std::{
    fmt,
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};

use super::{Process, StopServer};

/// Bytes between two bounds: a number, or a text such as "64 MiB".
#[derive(Clone, Copy, Debug)]
pub struct Size<const MIN: u64 = 0, const MAX: u64 = { u64::MAX }>(u64);

/// A number of things, between two bounds.
#[derive(Clone, Copy, Debug)]
pub struct Count<const MIN: u64 = 0, const MAX: u64 = { u64::MAX }>(u64);

/// A duration, such as "1m 30s".
#[derive(Clone, Copy, Debug)]
pub struct Time(Duration);

/// Where a listener listens.
#[derive(Clone, Copy, Debug)]
pub struct Listener(SocketAddr);

/// The file of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile(PathBuf);

/// Who may do what with a file, as chmod writes it.
#[derive(Clone, Copy, Debug)]
pub struct Mode(u32);

/// Where a web page comes from, as browsers say it, or `*` for anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(String);

/// What `--help` calls a value.
pub trait Named {
    const NAME: &'static str;
}

macro_rules! names {
    ($($name:literal: ($($bounds:tt)*) $written:ty;)*) => {
        $(impl<$($bounds)*> Named for $written { const NAME: &'static str = $name; })*
    };
}

names! {
    "SIZE": (const MIN: u64, const MAX: u64) Size<MIN, MAX>;
    "NUMBER": (const MIN: u64, const MAX: u64) Count<MIN, MAX>;
    "TIME": () Time;
    "ADDRESS:PORT": () Listener;
    "ADDRESS": () Vec<IpAddr>;
    "unix:PATH": () Vec<SocketFile>;
    "ORIGIN": () Vec<WebOrigin>;
    "MODE": () Mode;
    "PATH": () PathBuf;
    "WHO": () StopServer;
    "WHERE": () Process;
    "true|false": () bool;
}

/// A value that people write.
trait Written: Sized {
    /// What may be written, after the word "expected".
    fn expected() -> String;

    fn of_text(text: &str) -> Option<Self>;

    /// A number without quotes; most values are texts only.
    fn of_number(_number: u64) -> Option<Self> {
        None
    }
}

impl<const MIN: u64, const MAX: u64> Written for Size<MIN, MAX> {
    fn expected() -> String {
        match (MIN, MAX) {
            (0, u64::MAX) => "a size such as 1048576, 64MiB or 1GB".to_owned(),
            _ => format!("a size from {} to {}", show_bytes(MIN), show_bytes(MAX)),
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::of_number(text.parse::<ByteSize>().ok()?.as_u64())
    }

    fn of_number(number: u64) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Self(number))
    }
}

impl<const MIN: u64, const MAX: u64> Written for Count<MIN, MAX> {
    fn expected() -> String {
        match (MIN, MAX) {
            (0, u64::MAX) => "a number".to_owned(),
            _ => format!("a number from {MIN} to {MAX}"),
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::new(text.parse().ok()?)
    }

    fn of_number(number: u64) -> Option<Self> {
        Self::new(number)
    }
}

impl Written for Time {
    fn expected() -> String {
        "a duration such as 30s or 1m 30s".to_owned()
    }

    fn of_text(text: &str) -> Option<Self> {
        // A moment that is too far away cannot be computed, which would be a panic.
        const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);
        let time = humantime::parse_duration(text).ok()?;
        Some(Self(time.min(LONGEST)))
    }
}

impl Written for Listener {
    fn expected() -> String {
        "an address and a port, such as 127.0.0.1:9090".to_owned()
    }

    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Written for SocketFile {
    fn expected() -> String {
        "the path of a Unix socket, such as unix:/run/tms.sock".to_owned()
    }

    /// As gRPC's clients write it, with or without an empty host.
    fn of_text(text: &str) -> Option<Self> {
        let path = text.strip_prefix("unix:")?;
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        // A path that begins with two slashes names a host that is not this one.
        let is_file = !path.is_empty() && !path.starts_with("//") && !path.contains('\0');
        is_file.then(|| Self(path.into()))
    }
}

impl Written for WebOrigin {
    fn expected() -> String {
        "the origin of web pages, such as https://app.example or http://localhost:3000, or *"
            .to_owned()
    }

    fn of_text(text: &str) -> Option<Self> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        // Browsers write it in small letters, and no path.
        let is_host = |host: &str| {
            let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' | b'[' | b']');
            !host.is_empty() && host.bytes().all(fits)
        };
        (text == "*" || host.is_some_and(is_host)).then(|| Self(text.to_owned()))
    }
}

impl WebOrigin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for Mode {
    fn expected() -> String {
        "a mode such as \"660\", which lets the file's owner and group connect".to_owned()
    }

    /// No number without quotes: that would be a decimal one.
    fn of_text(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
        mode.map(Self)
    }
}

impl SocketFile {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// None where it is beyond the bounds.
    pub fn new(number: u64) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Self(number))
    }
}

/// What serde reads of a value: its text, or its number.
struct Reader<W>(PhantomData<W>);

impl<W: Written> Visitor<'_> for Reader<W> {
    type Value = W;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&W::expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<W, E> {
        W::of_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<W, E> {
        W::of_number(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<W, E> {
        let value = u64::try_from(number).ok().and_then(W::of_number);
        value.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// Makes a value readable from a file (serde), and from a flag or a variable (clap).
macro_rules! readable {
    ($(($($bounds:tt)*) $written:ty;)*) => {$(
        impl<'de, $($bounds)*> Deserialize<'de> for $written {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Reader(PhantomData))
            }
        }

        impl<$($bounds)*> FromStr for $written {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::of_text(text).ok_or_else(|| format!("expected {}", Self::expected()))
            }
        }
    )*};
}

readable! {
    (const MIN: u64, const MAX: u64) Size<MIN, MAX>;
    (const MIN: u64, const MAX: u64) Count<MIN, MAX>;
    () Time;
    () Listener;
    () SocketFile;
    () WebOrigin;
    () Mode;
}

// What each is inside. A number that the type inside cannot hold is as good as its largest.

impl<const MIN: u64, const MAX: u64> From<Size<MIN, MAX>> for usize {
    fn from(size: Size<MIN, MAX>) -> Self {
        Self::try_from(size.0).unwrap_or(Self::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> From<Size<MIN, MAX>> for u32 {
    fn from(size: Size<MIN, MAX>) -> Self {
        Self::try_from(size.0).unwrap_or(Self::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> From<Count<MIN, MAX>> for usize {
    fn from(count: Count<MIN, MAX>) -> Self {
        Self::try_from(count.0).unwrap_or(Self::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> From<Count<MIN, MAX>> for u16 {
    fn from(count: Count<MIN, MAX>) -> Self {
        Self::try_from(count.0).unwrap_or(Self::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> From<Count<MIN, MAX>> for u32 {
    fn from(count: Count<MIN, MAX>) -> Self {
        Self::try_from(count.0).unwrap_or(Self::MAX)
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl From<Mode> for u32 {
    fn from(mode: Mode) -> Self {
        mode.0
    }
}

impl From<Listener> for Option<SocketAddr> {
    fn from(listener: Listener) -> Self {
        Some(listener.0)
    }
}

/// Bytes as the documents write them.
pub fn show_bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string().replace(".0 ", " ")
}

/// A value of which a setting may have several.
pub trait Several: FromStr + for<'de> Deserialize<'de> {
    /// What may be written.
    fn one_or_more() -> String;
}

impl Several for IpAddr {
    fn one_or_more() -> String {
        "an address such as 0.0.0.0, or a list of addresses".to_owned()
    }
}

impl Several for WebOrigin {
    fn one_or_more() -> String {
        format!("{}, or a list of these", Self::expected())
    }
}

impl Several for SocketFile {
    fn one_or_more() -> String {
        format!("{}, or a list of such paths", Self::expected())
    }
}

/// Reads several values from a file: a list of them, or one without brackets.
pub fn several<'de, V: Several, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<V>>, D::Error> {
    struct Values<V>(PhantomData<V>);

    impl<'de, V: Several> Visitor<'de> for Values<V> {
        type Value = Vec<V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&V::one_or_more())
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let value = text.parse();
            value
                .map(|value| vec![value])
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }

    from.deserialize_any(Values(PhantomData)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File<W> {
        key: W,
    }

    /// What a file with this value says: what it is inside, or what is wrong.
    fn in_file<W: serde::de::DeserializeOwned>(value: &str) -> Result<W, String> {
        let file = toml::from_str::<File<W>>(&format!("key = {value}"));
        file.map(|file| file.key).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn sizes_are_numbers_or_texts() {
        let size = |value| in_file::<Size>(value).map(usize::from);
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("'64 MiB'"), Ok(64 << 20));
        assert_eq!(size("'1GB'"), Ok(1_000_000_000));
        let expected = "expected a size such as 1048576, 64MiB or 1GB";
        for (bad, given) in [("-1", "integer `-1`"), ("'much'", "string \"much\"")] {
            assert_eq!(size(bad), Err(format!("invalid value: {given}, {expected}")));
        }
        let wrong_type = format!("invalid type: boolean `true`, {expected}");
        assert_eq!(size("true"), Err(wrong_type));
        assert_eq!("64MiB".parse::<Size>().map(u32::from), Ok(64 << 20));
        assert_eq!("16EiB".parse::<Size>().map(u32::from), Ok(u32::MAX));
    }

    #[test]
    fn bounds_hold_wherever_a_value_is_written() {
        type Threads = Count<1, 1024>;
        type Stack = Size<{ 64 << 10 }, { 1 << 30 }>;
        for good in ["1", "1024"] {
            assert_eq!(in_file::<Threads>(good).map(usize::from), Ok(good.parse().unwrap()));
            assert!(good.parse::<Threads>().is_ok());
        }
        for bad in ["0", "1025", "-1", "1.5"] {
            let problem = in_file::<Threads>(bad).unwrap_err();
            assert!(problem.ends_with(", expected a number from 1 to 1024"), "{problem}");
            assert_eq!(bad.parse::<Threads>().unwrap_err(), "expected a number from 1 to 1024");
        }
        for bad in ["65535", "'2 GiB'"] {
            let problem = in_file::<Stack>(bad).unwrap_err();
            assert!(problem.ends_with(", expected a size from 64 KiB to 1 GiB"), "{problem}");
        }
        assert_eq!("1KiB".parse::<Stack>().unwrap_err(), "expected a size from 64 KiB to 1 GiB");
    }

    #[test]
    fn every_time_has_an_end() {
        let far = Duration::from("100000000000years".parse::<Time>().unwrap());
        assert!(std::time::Instant::now().checked_add(far).is_some());
    }
}
