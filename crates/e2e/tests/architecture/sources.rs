//! The sources of a crate, as far as they are part of the program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ferry_e2e::workspace_root;

/// One file of a crate: its code without comments, and without the tests that end it.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path beneath the crate's `src`.
    pub(crate) path: PathBuf,
    /// The path of the module, without `crate`.
    pub(crate) module: Vec<String>,
    /// The lines with their numbers, from 1.
    pub(crate) lines: Vec<(usize, String)>,
}

impl Source {
    /// Reads every file of the crate in `directory`, which is named from the top of the repository.
    pub(crate) fn of_crate(directory: &str) -> Vec<Source> {
        let top = workspace_root().join(directory).join("src");
        let mut paths = Vec::new();
        find(&top, &mut paths);
        assert!(!paths.is_empty(), "no sources in {directory}");
        paths
            .into_iter()
            .map(|path| {
                let inner = path.strip_prefix(&top).unwrap().to_owned();
                let text = fs::read_to_string(&path).unwrap();
                Source { module: module(&inner), lines: code(&text), path: inner }
            })
            .collect()
    }

    /// Returns the code as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

/// Finds the Rust files beneath `directory`, but not those of tests.
fn find(directory: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" || name == "testing" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            find(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn module(path: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        path.with_extension("").components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Returns the lines of `text` without comments, and without the test module that ends a file.
fn code(text: &str) -> Vec<(usize, String)> {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let uncommented = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text[..end].lines().enumerate().map(|(index, line)| (index + 1, uncommented(line))).collect()
}

#[test]
fn code_is_told_from_comments_and_tests() {
    let text = "use a; // std::fs\n//! std::fs\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod tests {\nuse std::fs; }\n";
    let lines: Vec<_> = code(text).into_iter().map(|(_, line)| line.trim().to_owned()).collect();
    assert_eq!(lines, ["use a;", "", "#[cfg(test)]", "use b;"]);
}

#[test]
fn a_file_is_its_module() {
    for (path, expected) in [("lib.rs", ""), ("net/mod.rs", "net"), ("store/upload/resume.rs", "store::upload::resume")]
    {
        assert_eq!(module(Path::new(path)).join("::"), expected);
    }
}
