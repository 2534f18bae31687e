//! Finds the shared library of ONNX Runtime: where the operator says, else beside the binary, else
//! where the system keeps libraries.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::nn::LibraryError;

/// A file that may be the library.
pub struct Candidate {
    pub path: PathBuf,
    /// The setting that names it. Such a library must work; one that was found need not.
    pub asked_by: Option<&'static str>,
}

impl Candidate {
    /// The path and where it comes from, for messages.
    pub fn describe(&self) -> String {
        match self.asked_by {
            Some(setting) => format!("`{}` (from {setting})", self.path.display()),
            None => format!("`{}`", self.path.display()),
        }
    }
}

/// The libraries to try, best first: only one if the operator names it.
pub fn candidates(option: Option<&Path>) -> Result<Vec<Candidate>, LibraryError> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (first, second) = (variable("TMS_ONNXRUNTIME"), variable("ORT_DYLIB_PATH"));
    // The option may itself come from the variable: then that is what the operator knows it by.
    let option_name =
        if option == first.as_deref() { "TMS_ONNXRUNTIME" } else { "the option `onnxruntime`" };
    let asked = [
        (option.map(Path::to_path_buf), option_name),
        (first, "TMS_ONNXRUNTIME"),
        (second, "ORT_DYLIB_PATH"),
    ];
    for (path, setting) in asked {
        if let Some(path) = path {
            return named(&path, setting).map(|candidate| vec![candidate]);
        }
    }
    let found = folders().into_iter().flat_map(|folder| libraries(&folder));
    // Last, a bare name: the dynamic linker knows more folders than we do.
    let names =
        [format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)];
    let paths = found.chain(names.into_iter().map(PathBuf::from));
    Ok(paths.map(|path| Candidate { path, asked_by: None }).collect())
}

/// Where the library may be, with the files beside it: what a process must be able to read.
pub fn places(option: Option<&Path>) -> Vec<PathBuf> {
    let mut places = folders();
    for candidate in candidates(option).unwrap_or_default() {
        let real = candidate.path.canonicalize().ok();
        let folder = real.as_deref().and_then(Path::parent).map(Path::to_owned);
        places.extend(folder);
    }
    places
}

/// The library that the operator names: a file, or the newest in a folder.
fn named(path: &Path, asked_by: &'static str) -> Result<Candidate, LibraryError> {
    let refuse = |reason: &str| {
        Err(LibraryError(format!(
            "ONNX Runtime cannot be used: `{}` (from {asked_by}) {reason}",
            path.display()
        )))
    };
    let path = if path.is_dir() {
        match libraries(path).into_iter().next() {
            Some(library) => library,
            None => return refuse("holds no libonnxruntime.so"),
        }
    } else {
        path.to_path_buf()
    };
    let mut magic = [0; 4];
    match File::open(&path).and_then(|mut file| file.read_exact(&mut magic)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => refuse("does not exist"),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            refuse("is not a shared library")
        }
        Err(e) => refuse(&format!("cannot be read: {e}")),
        Ok(()) if cfg!(target_os = "linux") && magic != *b"\x7fELF" => {
            refuse("is not a shared library")
        }
        // Absolute, because the loader takes a relative path from the binary's folder.
        Ok(()) => {
            Ok(Candidate { path: path.canonicalize().unwrap_or(path), asked_by: Some(asked_by) })
        }
    }
}

/// Folders to look in, nearest first.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(binary) = std::env::current_exe() {
        let own = binary.parent().map(Path::to_path_buf).unwrap_or_default();
        folders.extend([own.join("onnxruntime"), own.join("lib"), own.clone()]);
        // A build in a checkout: the project's folder is above `target`.
        if let Some(project) =
            own.ancestors().find(|a| a.ends_with("target")).and_then(Path::parent)
        {
            folders.extend([project.join(".onnxruntime"), project.join("onnxruntime")]);
        }
    }
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        folders.extend(std::env::split_paths(&paths));
    }
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    folders.extend(["/usr/local/lib", &multiarch, "/usr/lib64", "/usr/lib"].map(PathBuf::from));
    folders
}

/// The ONNX Runtime libraries in a folder, newest first. Wheels carry only a versioned name.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path())))
        .filter(|(_, path)| path.is_file())
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The version in a library's file name, empty for a name without one; `None` for other files.
fn version(name: &str) -> Option<Vec<u32>> {
    let rest = name.strip_prefix("libonnxruntime.")?;
    let version = match rest.strip_suffix("dylib") {
        Some(version) => version,
        None => rest.strip_prefix("so")?,
    };
    version.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_main_library_is_taken() {
        assert_eq!(version("libonnxruntime.so"), Some(vec![]));
        assert_eq!(version("libonnxruntime.so.1.31.1"), Some(vec![1, 31, 1]));
        assert_eq!(version("libonnxruntime.1.31.1.dylib"), Some(vec![1, 31, 1]));
        for other in
            ["libonnxruntime_providers_shared.so", "libonnxruntime.so.txt", "onnxruntime.so"]
        {
            assert_eq!(version(other), None, "{other}");
        }
    }

    #[test]
    fn a_named_library_must_be_one() {
        let message = |path: &Path| {
            named(path, "TMS_ONNXRUNTIME").err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(
            message(Path::new("/nowhere/x.so")),
            "ONNX Runtime cannot be used: `/nowhere/x.so` (from TMS_ONNXRUNTIME) does not exist"
        );
        assert!(
            message(Path::new(file!()).parent().unwrap_or(Path::new("/")))
                .contains("TMS_ONNXRUNTIME")
        );
        assert!(
            message(Path::new("/etc"))
                .ends_with("`/etc` (from TMS_ONNXRUNTIME) holds no libonnxruntime.so")
        );
        assert!(message(Path::new("/etc/passwd")).ends_with("is not a shared library"));
        assert!(message(Path::new("/dev/null")).ends_with("is not a shared library"));
    }
}
