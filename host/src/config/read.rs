//! Reads files of settings that anybody may have written: whatever the file is, reading it ends soon,
//! takes little memory, and what is said of it is short.

use std::{
    fs::{self, File, FileType, Metadata},
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    thread,
};

use serde::de::DeserializeOwned;

use super::values::show_bytes;

/// Bytes of a file of settings: far more than anybody writes.
const LARGEST: u64 = 1 << 20;

/// Stack for the parser, which recurses. It refuses 80 levels of one kind (keys with dots, tables in
/// braces, lists), but not such keys in such tables: 13 KB of text are 6500 levels, more than the 2 MiB
/// of an ordinary thread hold. The system gives memory only to what is used of it.
const STACK: usize = 64 << 20;

/// Bytes of what is said of a mistake. A key's name may be as long as the file, and what follows it
/// says which keys there are: the middle is left out.
const LONGEST_PROBLEM: usize = 1000;

/// Characters of the wrong line that are shown, and how many of them stand before the mistake.
const SHOWN: usize = 100;
const SHOWN_BEFORE: usize = 40;

/// A configuration file that cannot be used; the message names file, key and line.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ConfigError {
    pub file: String,
    pub problem: String,
}

impl ConfigError {
    fn new(path: &Path, problem: &str) -> Self {
        let file = path.display().to_string().replace(char::is_control, " ");
        // It shows the line that is wrong, which may be a model's author's, on a terminal.
        let unfit = |c: char| c.is_control() && c != '\n';
        Self { file, problem: problem.trim_end().replace(unfit, " ") }
    }
}

/// Reads a TOML file.
pub fn read<T: DeserializeOwned + Send>(path: &Path) -> Result<T, ConfigError> {
    let text = read_text(path, LARGEST)?;
    let parsed = thread::scope(|scope| {
        let parse = || toml::from_str(&text).map_err(|e| explain(&e, &text));
        let thread = thread::Builder::new().name("tms-settings".into()).stack_size(STACK);
        let parsing = thread.spawn_scoped(scope, parse).map_err(|e| e.to_string())?;
        parsing.join().unwrap_or_else(|_| Err("its parser broke down".to_owned()))
    });
    parsed.map_err(|problem| ConfigError::new(path, &problem))
}

/// Reads a file of at most `limit` bytes. What is no file is refused before it is opened, since opening
/// a named pipe waits for its writer, and what is too large is refused before it is read.
pub fn read_text(path: &Path, limit: u64) -> Result<String, ConfigError> {
    let text = match regular(path) {
        Ok(found) if found.len() > limit => Err(too_large(limit)),
        Ok(_) => text(path, limit),
        Err(problem) => Err(problem),
    };
    text.map_err(|problem| ConfigError::new(path, &problem))
}

/// What the path leads to, if it is a file.
fn regular(path: &Path) -> Result<Metadata, String> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Err("it is a link to what is not there".to_owned());
        }
        Err(e) => return Err(e.to_string()),
    };
    if found.is_file() {
        return Ok(found);
    }
    Err(format!("it is {}, not a file", kind(found.file_type())))
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

fn text(path: &Path, limit: u64) -> Result<String, String> {
    // It may have become something else by now: a pipe is not waited for, and no more is taken than
    // may be there.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut bytes = Vec::new();
    file.and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(too_large(limit));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8 text")
    })
}

fn too_large(limit: u64) -> String {
    format!("it is larger than {}", show_bytes(limit))
}

/// What is wrong, and where: as TOML's own messages show it, but short.
fn explain(error: &toml::de::Error, text: &str) -> String {
    let problem = shortened(error.message(), LONGEST_PROBLEM);
    match error.span() {
        Some(span) => format!("{}{problem}", excerpt(text, span)),
        None => problem,
    }
}

/// The wrong line, or the part of it around the mistake, with a mark below.
fn excerpt(text: &str, span: Range<usize>) -> String {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);

    let number = 1 + text[..start].matches('\n').count();
    let column = text[line_start..start].chars().count();
    let skipped = if column > SHOWN - SHOWN_BEFORE { column - SHOWN_BEFORE } else { 0 };
    let before = if skipped > 0 { "…" } else { "" };
    let mut rest = text[line_start..line_end].trim_end_matches('\r').chars().skip(skipped);
    let shown: String = rest.by_ref().take(SHOWN).collect();
    let after = if rest.next().is_some() { "…" } else { "" };

    let indent = before.chars().count() + column - skipped;
    let room = shown.chars().count().saturating_sub(column - skipped);
    let marked = text[start..end.min(line_end)].chars().count().min(room).max(1);
    let gutter = " ".repeat(number.to_string().len());
    format!(
        "TOML parse error at line {number}, column {}\n\
         {gutter} |\n\
         {number} | {before}{shown}{after}\n\
         {gutter} | {}{}\n",
        column + 1,
        " ".repeat(indent),
        "^".repeat(marked),
    )
}

/// A text of at most so many bytes: what stands in the middle is left out.
fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let half = bytes / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::symlink, net::UnixListener},
        path::PathBuf,
    };

    use tempfile::TempDir;

    use super::*;
    use crate::config::Manifest;

    fn written(contents: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.toml");
        fs::write(&path, contents).unwrap();
        (folder, path)
    }

    /// What is said of a file with this text.
    fn refusal(contents: impl AsRef<[u8]>) -> String {
        let (_folder, path) = written(contents);
        read::<Manifest>(&path).unwrap_err().problem
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let refusal = |name: &str| read_text(&path(name), LARGEST).unwrap_err().problem;

        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        assert_eq!(refusal("pipe"), "it is a named pipe, not a file");
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert_eq!(refusal("socket"), "it is a socket, not a file");
        fs::create_dir(path("folder")).unwrap();
        assert_eq!(refusal("folder"), "it is a folder, not a file");
        symlink("/dev/zero", path("device")).unwrap();
        assert_eq!(refusal("device"), "it is a device, not a file");
        symlink("nowhere", path("dangling")).unwrap();
        assert_eq!(refusal("dangling"), "it is a link to what is not there");
        symlink("circle", path("circle")).unwrap();
        assert_eq!(refusal("circle"), "Too many levels of symbolic links (os error 40)");
        assert_eq!(refusal("missing"), "No such file or directory (os error 2)");
        fs::write(path("file"), "text").unwrap();
        symlink("file", path("link")).unwrap();
        assert_eq!(read_text(&path("link"), LARGEST).unwrap(), "text");
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let (_folder, path) = written("12345");
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(read_text(&path, 4).unwrap_err().problem, "it is larger than 4 B");
        // Nothing is on the disk, and all of it would be in memory.
        let sparse = File::options().write(true).open(&path).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(read::<Manifest>(&path).unwrap_err().problem, "it is larger than 1 MiB");
        // The system says of these files that they are empty.
        assert!(!read_text(Path::new("/proc/self/status"), LARGEST).unwrap().is_empty());
        let refused = read_text(Path::new("/proc/self/status"), 10).unwrap_err();
        assert_eq!(refused.to_string(), "/proc/self/status: it is larger than 10 B");
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(refusal(b"# \xc3\xbc\n# \xfc\n"), "line 2 is not UTF-8 text");
        let (_folder, path) = written("\u{feff}description = 'from an editor of Windows'\r\n");
        assert!(read::<Manifest>(&path).is_ok());
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        let many = 100_000;
        let keys = "a.".repeat(many);
        // As deep as the parser goes: keys with dots, in tables in braces, in a table with dots.
        let most = format!("{}a", "a.".repeat(78));
        let tables = format!("{{ {most} = ").repeat(78);
        let deepest = format!("[{most}]\n{most} = {tables}1{}", "}".repeat(78));
        for text in [
            format!("a = {}", "[".repeat(many)),
            format!("a = {}", "{a=".repeat(many)),
            format!("{keys}a = 1"),
            format!("[{keys}a]"),
            format!("[[{keys}a]]"),
            deepest,
        ] {
            let problem = refusal(&text);
            assert!(problem.len() < 2 * LONGEST_PROBLEM, "{problem}");
        }
    }

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        assert_eq!(
            refusal("[limits]\n  memory = 'much'\n"),
            "TOML parse error at line 2, column 12\n  \
             |\n\
             2 |   memory = 'much'\n  \
             |            ^^^^^^\n\
             invalid value: string \"much\", expected a size such as 1048576, 64MiB or 1GB"
        );
        assert_eq!(
            refusal("snapshot = \"é\u{1b}[31m\""),
            "TOML parse error at line 1, column 14\n  \
             |\n\
             1 | snapshot = \"é [31m\"\n  \
             |              ^\n\
             invalid basic string, expected non-double-quote visible characters, `\\`"
        );
    }

    #[test]
    fn what_is_said_of_a_long_line_is_short() {
        let long = "x".repeat(200_000);
        let problem = refusal(format!("{long} = 1"));
        assert!(problem.len() < 2 * LONGEST_PROBLEM, "{} bytes", problem.len());
        assert!(problem.contains("unknown field `xxx"), "{problem}");
        assert!(problem.ends_with("`max_batch`, `max_batch_memory`, `graphs`"), "{problem}");
        let problem = refusal(format!("description = '{long}', device = 1"));
        assert!(problem.starts_with("TOML parse error at line 1, column 200017\n"), "{problem}");
        let mut lines = problem.lines().skip(2);
        let (shown, mark) = (lines.next().unwrap(), lines.next().unwrap());
        assert!(shown.starts_with("1 | …xxx") && shown.ends_with("x', device = 1"), "{problem}");
        assert_eq!(shown.chars().nth(mark.find('^').unwrap()), Some(','), "{problem}");
        let long = refusal(format!("snapshot = '{}'", "ü".repeat(200_000)));
        assert!(long.len() < 2 * LONGEST_PROBLEM && long.ends_with("expected a boolean"), "{long}");
    }

    #[test]
    fn a_file_with_a_newline_in_its_name_is_named_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a\n\u{1b}b");
        fs::write(&path, "x").unwrap();
        let error = read::<Manifest>(&path).unwrap_err();
        assert!(error.file.ends_with("/a  b"), "{error}");
    }
}
