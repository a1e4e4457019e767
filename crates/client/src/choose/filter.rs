//! Lists of rules: in options, in files, and in files of single directories.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Above,
    rule::{DirectoryRules, Form, Line, MergedFile, Rule, Sides, Style, line},
};
use crate::error::Error;

/// The name of the files that [`Filter::obey_ignore_files`] reads.
const IGNORE_FILE: &str = ".ferryignore";

/// A larger file of rules is another one.
pub(crate) const MAX_RULES_BYTES: u64 = 1 << 20;

/// A file of rules that names another one, and so on, goes no deeper: it may name itself.
const MAX_MERGES: usize = 16;

/// Rules that say which names are taken: those of rsync, in its order, of which the first that means a name decides. A name
/// that none means is taken. What is beneath a directory that is not taken is not looked at.
///
/// Names are as they are made where they go: below the directory that a synchronisation compares, and with the
/// directory's own name in front where a directory is moved as a whole. A pattern that begins with a `/` is about that
/// top; any other with a `/` or a `**` in it about the end of a name, and one with neither about its last component. `*`,
/// `?` and `[a-z]` stand for no `/`, and `?` for one character, also where it is more than one byte. A `/` at the end
/// means directories alone.
///
/// A rule with the modifier `/` is about whole paths: the local one of a thing here, and there the one from the server's
/// root. One with `p` does not keep what is in a directory that is deleted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    entries: Vec<Entry>,
    cvs: OwnCvsIgnores,
}

/// The patterns that a person adds to those that CVS ignores by itself.
#[derive(Debug, Clone, Default, PartialEq)]
struct OwnCvsIgnores {
    file: Option<PathBuf>,
    words: Option<OsString>,
}

/// The patterns that CVS ignores by itself, and rsync with it.
const CVS_IGNORES: &str = "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* .#* ,* _$* *$ \
                           *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln core \
                           .svn/ .git/ .hg/ .bzr/";

/// A rule that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(String);

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Rule(Arc<Rule>),
    /// The place of the rules that each directory has in a file of its own.
    Directories(DirectoryRules),
}

/// A file of rules: its path, and what is in it.
pub(crate) type RuleFile = (PathBuf, String);

/// The rules that hold in one directory besides those of options: for each [`Entry::Directories`] a list, and how many
/// of them are of this very directory.
pub(super) type Local = Vec<(Vec<Arc<Rule>>, usize)>;

/// The decision on one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// It is not taken from the end that is read.
    pub(crate) hidden: bool,
    /// It is not deleted at the end that is changed, as long as the directory that it is in stays.
    pub(crate) protected: bool,
    /// It is not deleted either where that directory is.
    pub(crate) firmly: bool,
}

impl Ruling {
    pub(crate) const TAKEN: Ruling = Ruling { hidden: false, protected: false, firmly: false };
    pub(crate) const LEFT: Ruling = Ruling { hidden: true, protected: true, firmly: true };
}

/// The word of the rules on one name so far: whether it is let in, where that is known.
#[derive(Debug, Default)]
struct Said {
    read: Option<bool>,
    changed: Option<bool>,
    /// Without the perishable rules.
    firmly: Option<bool>,
}

impl Said {
    /// Takes what `rule` says, which means a thing at these ends.
    fn take(&mut self, rule: &Rule, Sides { read, changed }: Sides) {
        let say = |said: &mut Option<bool>, applies: bool| *said = said.or(applies.then_some(rule.include));
        say(&mut self.read, read);
        say(&mut self.changed, changed);
        say(&mut self.firmly, changed && !rule.perishable);
    }

    fn is_whole(&self) -> bool {
        self.read.is_some() && self.firmly.is_some()
    }

    fn ruling(&self) -> Ruling {
        let is_out = |said: Option<bool>| said == Some(false);
        Ruling { hidden: is_out(self.read), protected: is_out(self.changed), firmly: is_out(self.firmly) }
    }
}

impl Filter {
    /// Adds that names are not taken which `pattern` means; with `+ ` in front of it, that they are. A `!` forgets all
    /// rules so far.
    ///
    /// # Errors
    ///
    /// A pattern that can't be read.
    pub fn exclude(&mut self, pattern: &str) -> Result<(), RuleError> {
        self.add(pattern, Form::Patterns { include: false })
    }

    /// Adds that names are taken which `pattern` means; with `- ` in front of it, that they are not.
    ///
    /// # Errors
    ///
    /// A pattern that can't be read.
    pub fn include(&mut self, pattern: &str) -> Result<(), RuleError> {
        self.add(pattern, Form::Patterns { include: true })
    }

    /// Adds the rules of a file, one a line, in the form of rsync's merge files: `- PATTERN`, `+ PATTERN`, `. FILE`, and so
    /// on. Lines that begin with `#` or `;` and empty ones are remarks. Other files are named as seen from `directory`.
    ///
    /// # Errors
    ///
    /// A file that can't be read ([`Error::Local`]), or a line of it ([`Error::Rules`]).
    pub fn read(&mut self, directory: &Path, file: impl AsRef<Path>) -> Result<(), Error> {
        self.merge(directory, file.as_ref(), Form::Rules.into(), 0)
    }

    /// Sets what is added to the patterns that the rule `-C` stands for by itself: the words of a file, if that exists, and
    /// those of a variable. rsync takes `$HOME/.cvsignore` and `$CVSIGNORE`.
    pub fn set_cvs_ignores(&mut self, file: Option<PathBuf>, words: Option<OsString>) {
        self.cvs = OwnCvsIgnores { file, words };
    }

    /// Adds the rules of files called `.ferryignore`, each for the local directory that it is in and those beneath. Its
    /// lines are patterns of names that are not taken; with `+ ` in front, of names that are. They hold for names of a
    /// server as well, which would be in these directories.
    pub fn obey_ignore_files(&mut self) {
        let style = Form::Patterns { include: false }.into();
        // The files themselves are never moved: their names are ferry's own.
        let file = MergedFile { name: IGNORE_FILE.to_owned(), style, keeps_itself_out: true };
        self.push_directories(DirectoryRules { file, inherited: true });
    }

    fn push_directories(&mut self, rules: DirectoryRules) {
        self.keep_out(&rules.file);
        self.entries.push(Entry::Directories(rules));
    }

    /// Leaves out a file of rules itself, where it says so.
    fn keep_out(&mut self, file: &MergedFile) {
        let last = file.name.rsplit('/').next().unwrap_or(&file.name);
        if let (true, Ok(rule)) = (file.keeps_itself_out, Rule::excluding(last)) {
            self.entries.push(Entry::Rule(rule.into()));
        }
    }

    /// Returns whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether directories may have rules in files of their own.
    #[must_use]
    pub fn has_directory_rules(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Directories(_)))
    }

    fn add(&mut self, text: &str, form: Form) -> Result<(), RuleError> {
        match line(text, form, "").map_err(RuleError)? {
            Line::Rule(rule) => self.entries.push(Entry::Rule(rule.into())),
            Line::Clear => self.entries.clear(),
            Line::Directories(rules) => self.push_directories(rules),
            Line::Merge(_) | Line::Cvs(_) => {
                return Err(RuleError("a file is named by an option of its own".to_owned()));
            }
        }
        Ok(())
    }

    fn merge(&mut self, directory: &Path, file: &Path, style: Style, depth: usize) -> Result<(), Error> {
        let path = directory.join(file);
        let text = read(&path)?;
        for (number, content) in style.lines(&text) {
            let wrong = |why| Error::Rules { file: path.clone(), line: number, why };
            match line(&content, style, "").map_err(wrong)? {
                Line::Rule(rule) => self.entries.push(Entry::Rule(rule.into())),
                Line::Clear => self.entries.clear(),
                Line::Directories(rules) => self.push_directories(rules),
                Line::Cvs(style) => {
                    let rules = self.cvs.rules(style)?;
                    self.entries.extend(rules.into_iter().map(Entry::Rule));
                }
                Line::Merge(_) if depth == MAX_MERGES => {
                    return Err(wrong(format!("files name one another more than {MAX_MERGES} deep")));
                }
                Line::Merge(file) => {
                    self.keep_out(&file);
                    self.merge(directory, Path::new(&file.name), file.style, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Decides on `name`, which is beneath these paths, in a directory with the rules `local`.
    pub(super) fn ruling(&self, name: &str, above: &Above, is_directory: bool, local: &Local) -> Ruling {
        let mut said = Said::default();
        let mut own = local.iter();
        for entry in &self.entries {
            let rules = match entry {
                Entry::Rule(rule) => std::slice::from_ref(rule),
                Entry::Directories(_) => own.next().map_or(&[][..], |(rules, _)| rules),
            };
            for rule in rules {
                let Sides { read, changed } = rule.sides;
                let read = read && said.read.is_none() && rule.means(name, &above.read, is_directory);
                let changed = changed && said.firmly.is_none() && rule.means(name, &above.changed, is_directory);
                said.take(rule, Sides { read, changed });
                if said.is_whole() {
                    return said.ruling();
                }
            }
        }
        said.ruling()
    }

    /// Returns the rules that hold in `directory`, which is in one with the rules `above`; `open` returns what is in a file of
    /// the directory, and where that is, if there is one.
    pub(super) fn local(
        &self,
        directory: &str,
        above: Option<&Local>,
        open: &mut dyn FnMut(&str) -> Result<Option<RuleFile>, Error>,
    ) -> Result<Local, Error> {
        let kinds = self.entries.iter().filter_map(|entry| match entry {
            Entry::Directories(rules) => Some(rules),
            Entry::Rule(_) => None,
        });
        let mut local = Local::new();
        for (at, DirectoryRules { file, inherited }) in kinds.enumerate() {
            let mut inherit =
                above.and_then(|above| above.get(at)).map_or(Vec::new(), |(rules, own)| match inherited {
                    true => rules.clone(),
                    // Those of the directory above are its own alone.
                    false => rules[*own..].to_vec(),
                });
            let mut own = Vec::new();
            let found = open(&file.name)?;
            for (number, content) in found.iter().flat_map(|(_, text)| file.style.lines(text)) {
                let path = || found.as_ref().map(|(path, _)| path.clone()).unwrap_or_default();
                let wrong = |why| Error::Rules { file: path(), line: number, why };
                match line(&content, file.style, directory).map_err(wrong)? {
                    Line::Rule(rule) => own.push(Arc::new(rule)),
                    Line::Cvs(style) => own.append(&mut self.cvs.rules(style)?),
                    Line::Clear => {
                        own.clear();
                        inherit.clear();
                    }
                    Line::Merge(_) | Line::Directories(_) => {
                        return Err(wrong("the file of a directory names no other files".to_owned()));
                    }
                }
            }
            let count = own.len();
            own.append(&mut inherit);
            local.push((own, count));
        }
        Ok(local)
    }
}

impl OwnCvsIgnores {
    /// Returns the rules that `-C` stands for, read so.
    fn rules(&self, style: Style) -> Result<Vec<Arc<Rule>>, Error> {
        let mut rules = Vec::new();
        let mut add = |path: &Path, text: &str, style: Style| {
            for (number, word) in style.lines(text) {
                let wrong = |why| Error::Rules { file: path.to_owned(), line: number, why };
                match line(&word, style, "").map_err(wrong)? {
                    Line::Rule(rule) => rules.push(Arc::new(rule)),
                    Line::Clear => rules.clear(),
                    Line::Merge(_) | Line::Directories(_) | Line::Cvs(_) => {}
                }
            }
            Ok::<(), Error>(())
        };
        // Only they perish.
        add(Path::new("-C"), CVS_IGNORES, style.perishable())?;
        if let Some(file) = &self.file {
            match read(file) {
                Err(Error::Local { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                text => add(file, &text?, style)?,
            }
        }
        if let Some(words) = &self.words {
            let name = Path::new("$CVSIGNORE");
            add(name, &text(name, words.as_bytes().to_vec())?, style)?;
        }
        Ok(rules)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |error| Error::local("read the rules in", path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_RULES_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    text(path, bytes)
}

/// Returns the text of a file of rules, of which more than [`MAX_RULES_BYTES`] need not be read.
pub(crate) fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    if bytes.len() as u64 > MAX_RULES_BYTES {
        return Err(Error::file(path, "has more than a MiB, and is no file of rules"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::Rules { file: path.to_owned(), line, why: "it is not UTF-8".to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Result<Option<RuleFile>, Error> {
        Ok(None)
    }

    fn hides(filter: &Filter, name: &str) -> bool {
        let (name, is_directory) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
        filter.ruling(name, &Above::default(), is_directory, &Local::new()).hidden
    }

    #[test]
    fn the_first_rule_that_means_a_name_decides() {
        let mut filter = Filter::default();
        filter.include("keep.o").unwrap();
        filter.exclude("*.o").unwrap();
        filter.exclude("+ *.tmp").unwrap();
        filter.exclude("*").unwrap();
        assert!(!hides(&filter, "d/keep.o") && hides(&filter, "d/x.o") && !hides(&filter, "a.tmp"));
        assert!(hides(&filter, "other"));
        filter.exclude("!").unwrap();
        assert!(filter.is_empty() && !hides(&filter, "x.o"));
        assert_eq!(filter.exclude("[a").unwrap_err().to_string(), "a '[' without its ']'");
    }

    #[test]
    fn rules_of_one_end_say_nothing_of_the_other() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("rules"), "P kept\nH hidden\n+ x\n- *\n").unwrap();
        let mut filter = Filter::default();
        filter.read(directory.path(), "rules").unwrap();
        let ruling = |name| filter.ruling(name, &Above::default(), false, &Local::new());
        assert_eq!(ruling("kept"), Ruling::LEFT);
        assert_eq!(ruling("x"), Ruling::TAKEN);
        filter.entries.pop();
        let ruling = |name| filter.ruling(name, &Above::default(), false, &Local::new());
        assert_eq!(ruling("kept"), Ruling { protected: true, firmly: true, ..Ruling::TAKEN });
        assert_eq!(ruling("hidden"), Ruling { hidden: true, ..Ruling::TAKEN });
        assert_eq!(ruling("other"), Ruling::TAKEN);
    }

    #[test]
    fn files_name_other_files_and_errors_their_lines() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let read = |name: &str| {
            let mut filter = Filter::default();
            filter.read(directory.path(), name).map(|()| filter)
        };
        write("rules", "# a remark\n\n. more\n- a\n");
        write("more", "+ a\n.- bare\n");
        write("bare", "+ b\n");
        let filter = read("rules").unwrap();
        assert!(!hides(&filter, "a") && hides(&filter, "+ b") && !hides(&filter, "b"));
        write("wrong", "- a\n; x\n- [b\n");
        let shown = |error: Error| error.to_string();
        assert!(shown(read("wrong").unwrap_err()).ends_with("wrong:3: a '[' without its ']'"));
        write("own", ". own\n");
        assert!(shown(read("own").unwrap_err()).contains("more than 16 deep"));
        write("bytes", "- a\n");
        std::fs::write(directory.path().join("bytes"), b"- a\n- \xff\n").unwrap();
        assert!(shown(read("bytes").unwrap_err()).ends_with("bytes:2: it is not UTF-8"));
        std::fs::write(directory.path().join("large"), vec![b'\n'; (1 << 20) + 1]).unwrap();
        assert!(matches!(read("large"), Err(Error::LocalFile { .. })));
        assert!(matches!(read("missing"), Err(Error::Local { .. })));
    }

    #[test]
    fn rules_of_a_directory_stand_before_those_of_the_directories_that_it_is_in() {
        let mut filter = Filter::default();
        filter.include("first").unwrap();
        filter.obey_ignore_files();
        let open = |text: &'static str| move |_: &str| Ok(Some((PathBuf::new(), text.to_owned())));
        let top = filter.local("", None, &mut open("*.o\nfirst\n/anchored\n")).unwrap();
        let below = filter.local("d", Some(&top), &mut open("+ x.o\n/anchored\n")).unwrap();
        let deeper = filter.local("d/e", Some(&below), &mut none).unwrap();
        let hidden = |name: &str, local: &Local| filter.ruling(name, &Above::default(), false, local).hidden;
        assert!(hidden("a.o", &top) && !hidden("first", &top) && hidden("anchored", &top));
        assert!(!hidden("d/x.o", &below) && hidden("d/y.o", &below) && hidden("d/anchored", &below));
        assert!(!hidden("d/e/x.o", &deeper) && hidden("d/e/a.o", &deeper) && !hidden("d/e/anchored", &deeper));
        let cleared = filter.local("d", Some(&top), &mut open("!\n*.c\n")).unwrap();
        assert!(!hidden("d/a.o", &cleared) && hidden("d/a.c", &cleared) && hidden("d/.ferryignore", &cleared));
        let wrong = filter.local("d", Some(&top), &mut open("x\n[\n")).unwrap_err();
        assert!(matches!(wrong, Error::Rules { line: 2, .. }), "{wrong:?}");
    }

    #[test]
    fn what_cvs_ignores_is_one_rule() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let read = |filter: &mut Filter| filter.read(directory.path(), "rules");
        write("rules", "+ keep.o\n-C\n");
        let mut filter = Filter::default();
        filter.set_cvs_ignores(Some(directory.path().join("home")), Some("*.x y".into()));
        read(&mut filter).unwrap();
        assert!(!hides(&filter, "keep.o") && hides(&filter, "d/a.o") && hides(&filter, "CVS") && hides(&filter, "#a"));
        assert!(hides(&filter, ".git/") && !hides(&filter, ".git") && hides(&filter, "a.x") && hides(&filter, "y"));
        // Only what CVS ignores by itself perishes.
        let ruling = |name| filter.ruling(name, &Above::default(), false, &Local::new());
        assert_eq!(ruling("a.o"), Ruling { hidden: true, protected: true, firmly: false });
        assert_eq!(ruling("a.x"), Ruling::LEFT);
        write("home", "! *.h\n");
        let mut filter = Filter { entries: Vec::new(), ..filter };
        read(&mut filter).unwrap();
        assert!(hides(&filter, "a.h") && hides(&filter, "a.x") && !hides(&filter, "a.o"));
        write("home", "a\n[\n");
        let wrong = read(&mut filter).unwrap_err();
        assert!(wrong.to_string().ends_with("home:2: a '[' without its ']'"), "{wrong}");
        std::fs::remove_file(directory.path().join("home")).unwrap();
        filter.set_cvs_ignores(Some(directory.path().join("home")), Some("[".into()));
        assert!(read(&mut filter).unwrap_err().to_string().starts_with("$CVSIGNORE:1: "));
        filter.set_cvs_ignores(Some(directory.path().to_owned()), None);
        assert!(matches!(read(&mut filter), Err(Error::Local { .. })));
    }

    #[test]
    fn rules_that_are_not_inherited_end_with_their_directory() {
        let mut filter = Filter::default();
        filter.add(":n rules", Form::Rules).unwrap();
        let open = |text: &'static str| move |_: &str| Ok(Some((PathBuf::new(), text.to_owned())));
        let top = filter.local("", None, &mut open("- a\n")).unwrap();
        let below = filter.local("d", Some(&top), &mut none).unwrap();
        assert!(
            filter.ruling("a", &Above::default(), false, &top).hidden
                && !filter.ruling("d/a", &Above::default(), false, &below).hidden
        );
    }
}
