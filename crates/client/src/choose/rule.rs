//! One rule, as rsync writes it.

use std::borrow::Cow;

use super::glob::Glob;

/// One rule of a list, of which the first that means a name decides.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// It lets in what it means, and does not keep it out.
    pub(super) include: bool,
    /// It is about all that the pattern does not mean.
    negated: bool,
    pub(super) sides: Sides,
    /// It is about the whole path of a thing at the end that it is about, not about its name in the tree.
    of_paths: bool,
    /// It says nothing of what is in a directory that is deleted.
    pub(super) perishable: bool,
    glob: Glob,
    /// The directory of the file that it was read from: a pattern that begins with a `/` is about what is beneath it.
    /// Empty for the top.
    directory: Box<str>,
}

/// The ends that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sides {
    /// It says whether a name is taken from the end that is read.
    pub(super) read: bool,
    /// It says whether a name may be deleted at the end that is changed.
    pub(super) changed: bool,
}

const NEITHER: Sides = Sides { read: false, changed: false };
const BOTH: Sides = Sides { read: true, changed: true };
const READ: Sides = Sides { read: true, changed: false };
const CHANGED: Sides = Sides { read: false, changed: true };

/// The meaning of a line.
#[derive(Debug)]
pub(super) enum Line {
    Rule(Rule),
    /// The rules of this file stand here.
    Merge(MergedFile),
    /// The rules of the files of this name stand here, each for the directory that it is in.
    Directories(DirectoryRules),
    /// The patterns of what CVS ignores stand here, read so.
    Cvs(Style),
    /// All rules before it are forgotten.
    Clear,
}

/// A file of rules that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MergedFile {
    pub(super) name: String,
    pub(super) style: Style,
    /// Files of this name are left out themselves.
    pub(super) keeps_itself_out: bool,
}

/// Rules that each directory may have in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirectoryRules {
    pub(super) file: MergedFile,
    /// They hold for directories beneath as well.
    pub(super) inherited: bool,
}

/// How a file of rules is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) form: Form,
    /// Each word is what a line is elsewhere, and there are no remarks.
    pub(super) words: bool,
    /// A `!` forgets rules, also where lines have no prefixes.
    clears: bool,
    /// The ends that all of its rules are about; [`None`] where each says so itself.
    sides: Option<Sides>,
    /// All of its rules are about whole paths.
    of_paths: bool,
    /// All of its rules say nothing of what is in a directory that is deleted.
    perishable: bool,
}

impl From<Form> for Style {
    fn from(form: Form) -> Style {
        let clears = matches!(form, Form::Patterns { .. });
        Style { form, words: false, clears, sides: None, of_paths: false, perishable: false }
    }
}

impl Style {
    /// The patterns that CVS ignores, as words.
    const CVS: Style = Style {
        form: Form::Bare { include: false },
        words: true,
        clears: true,
        sides: None,
        of_paths: false,
        perishable: false,
    };

    /// Returns how files are read that a file of this style names with `style`.
    fn handed_on(self, style: Style) -> Result<Style, String> {
        let sides = one_of(self.sides, style.sides)?;
        let (of_paths, perishable) = (self.of_paths || style.of_paths, self.perishable || style.perishable);
        Ok(Style { sides, of_paths, perishable, ..style })
    }

    /// Returns the style of rules that are perishable as well.
    pub(super) fn perishable(self) -> Style {
        Style { perishable: true, ..self }
    }
}

/// The form of the lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Rules with their prefixes.
    Rules,
    /// Patterns that are kept out or let in, unless `- ` or `+ ` stands before them.
    Patterns { include: bool },
    /// Patterns that are kept out or let in, whatever they begin with.
    Bare { include: bool },
}

/// The kinds of rules: the short and the long form.
const KINDS: [(char, &str); 9] = [
    ('-', "exclude"),
    ('+', "include"),
    ('.', "merge"),
    (':', "dir-merge"),
    ('H', "hide"),
    ('S', "show"),
    ('P', "protect"),
    ('R', "risk"),
    ('!', "clear"),
];

impl Rule {
    /// Returns whether it means `name`, which is beneath the path `above`.
    pub(super) fn means(&self, name: &str, above: &str, is_directory: bool) -> bool {
        if self.of_paths && !above.is_empty() {
            return self.glob.matches(&format!("{above}/{name}"), is_directory) != self.negated;
        }
        let below = match self.glob.is_anchored() && !self.directory.is_empty() {
            true if self.of_paths => Some(name),
            true => name.strip_prefix(&*self.directory).and_then(|rest| rest.strip_prefix('/')),
            false => Some(name),
        };
        below.is_some_and(|name| self.glob.matches(name, is_directory)) != self.negated
    }

    /// Keeps out what is called `name`, as it stands there.
    pub(super) fn excluding(name: &str) -> Result<Rule, String> {
        pattern(name, false, "")
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        let key = |rule: &Rule| (rule.include, rule.negated, rule.sides, rule.of_paths, rule.perishable);
        key(self) == key(other) && self.glob.text() == other.glob.text() && self.directory == other.directory
    }
}

/// Reads one line of a file that is read so, in `directory`, or in none where that is empty.
pub(super) fn line(text: &str, style: impl Into<Style>, directory: &str) -> Result<Line, String> {
    let style = style.into();
    let handed_on = |file: MergedFile| Ok::<_, String>(MergedFile { style: style.handed_on(file.style)?, ..file });
    Ok(match line_of(text, style, directory)? {
        Line::Rule(rule) => {
            let own = (rule.sides != BOTH).then_some(rule.sides);
            let sides = one_of(style.sides, own)?.unwrap_or(BOTH);
            let (of_paths, perishable) = (rule.of_paths || style.of_paths, rule.perishable || style.perishable);
            Line::Rule(Rule { sides, of_paths, perishable, ..rule })
        }
        Line::Merge(file) => Line::Merge(handed_on(file)?),
        Line::Directories(rules) => Line::Directories(DirectoryRules { file: handed_on(rules.file)?, ..rules }),
        Line::Cvs(own) => Line::Cvs(style.handed_on(own)?),
        Line::Clear => Line::Clear,
    })
}

/// Returns the ends that are meant, which are said for a file or in it.
fn one_of(file: Option<Sides>, own: Option<Sides>) -> Result<Option<Sides>, String> {
    match (file, own) {
        (Some(_), Some(_)) => Err("the ends that it is about stand where its file is named".to_owned()),
        _ => Ok(file.or(own)),
    }
}

fn line_of(text: &str, style: Style, directory: &str) -> Result<Line, String> {
    let prefixed = |include: bool| text.strip_prefix(if include { "+ " } else { "- " });
    match style.form {
        Form::Patterns { .. } | Form::Bare { .. } if style.clears && text == "!" => Ok(Line::Clear),
        Form::Patterns { include } => match (prefixed(false), prefixed(true)) {
            (Some(text), _) => pattern(text, false, directory),
            (_, Some(text)) => pattern(text, true, directory),
            _ => pattern(text, include, directory),
        }
        .map(Line::Rule),
        Form::Bare { include } => pattern(text, include, directory).map(Line::Rule),
        Form::Rules => rule(text, directory),
    }
}

fn pattern(text: &str, include: bool, directory: &str) -> Result<Rule, String> {
    let glob = Glob::new(text)?;
    let (of_paths, perishable, directory) = (false, false, directory.into());
    Ok(Rule { include, negated: false, sides: BOTH, of_paths, perishable, glob, directory })
}

fn rule(text: &str, directory: &str) -> Result<Line, String> {
    let (kind, rest) = kind(text)?;
    let (modifiers, argument) = match rest.find([' ', '_']) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, ""),
    };
    if kind == '!' {
        return if rest.is_empty() { Ok(Line::Clear) } else { Err("nothing stands after '!'".to_owned()) };
    }
    if matches!(kind, '.' | ':') {
        return file(kind == ':', modifiers, argument);
    }
    if kind == '-' && modifiers.contains('C') {
        return patterns_of_cvs(modifiers, argument);
    }
    if argument.is_empty() {
        return Err("a pattern is missing: '- PATTERN' keeps out, '+ PATTERN' lets in".to_owned());
    }
    let mut rule = pattern(argument, matches!(kind, '+' | 'S' | 'R'), directory)?;
    rule.sides = match kind {
        'H' | 'S' => READ,
        'P' | 'R' => CHANGED,
        _ => sides(modifiers),
    };
    // There are no other attributes that a rule could be about instead of names.
    if modifiers.contains('x') {
        rule.sides = NEITHER;
    }
    check_modifiers(modifiers, if matches!(kind, '+' | '-') { "!srx/p" } else { "!x/p" })?;
    rule.negated = modifiers.contains('!');
    rule.of_paths = modifiers.contains('/');
    rule.perishable = modifiers.contains('p');
    Ok(Line::Rule(rule))
}

fn check_modifiers(modifiers: &str, known: &str) -> Result<(), String> {
    match modifiers.chars().find(|modifier| !known.contains(*modifier)) {
        Some(unknown) => Err(format!("the modifier '{}' is not known here", unknown.escape_default())),
        None => Ok(()),
    }
}

/// Reads the rule that stands for the patterns of what CVS ignores.
fn patterns_of_cvs(modifiers: &str, argument: &str) -> Result<Line, String> {
    check_modifiers(modifiers, "Csr/p")?;
    if !argument.is_empty() {
        return Err("nothing stands after '-C'".to_owned());
    }
    Ok(Line::Cvs(modified(Style::CVS, modifiers)))
}

/// Returns `style` for rules that all have these modifiers.
fn modified(style: Style, modifiers: &str) -> Style {
    let has = |modifier| modifiers.contains(modifier);
    let sides = (has('s') || has('r')).then(|| sides(modifiers));
    Style { sides, of_paths: has('/'), perishable: has('p'), ..style }
}

/// Returns the short form of a rule's kind, and what stands after it.
fn kind(text: &str) -> Result<(char, &str), String> {
    let comma = |rest: &'_ str| rest.strip_prefix(',').map_or(rest.len(), str::len);
    for (short, long) in KINDS {
        let rest = text.strip_prefix(long).filter(|rest| rest.is_empty() || rest.starts_with([' ', '_', ',']));
        if let Some(rest) = rest.or_else(|| text.strip_prefix(short)) {
            return Ok((short, &rest[rest.len() - comma(rest)..]));
        }
    }
    Err("it begins with none of '- ', '+ ', '. ', ': ', 'H ', 'S ', 'P ', 'R ' and '!'".to_owned())
}

fn sides(modifiers: &str) -> Sides {
    match (modifiers.contains('s'), modifiers.contains('r')) {
        (true, false) => READ,
        (false, true) => CHANGED,
        _ => BOTH,
    }
}

fn file(per_directory: bool, modifiers: &str, name: &str) -> Result<Line, String> {
    let has = |modifier| modifiers.contains(modifier);
    let is_of_cvs = has('C');
    let name = if name.is_empty() && is_of_cvs { ".cvsignore" } else { name };
    if name.is_empty() {
        return Err("the name of a file is missing".to_owned());
    }
    check_modifiers(modifiers, if per_directory { "-+Cenwsr/p" } else { "-+Cewsr/p" })?;
    let form = match (has('-') || is_of_cvs, has('+')) {
        (true, true) => return Err("'-' and '+' exclude each other".to_owned()),
        (true, _) => Form::Bare { include: false },
        (_, true) => Form::Bare { include: true },
        _ => Form::Rules,
    };
    let style = Style { words: has('w') || is_of_cvs, clears: is_of_cvs, ..form.into() };
    let style = modified(style, modifiers);
    let file = MergedFile { name: name.to_owned(), style, keeps_itself_out: has('e') };
    match per_directory {
        true if name.contains('/') => Err("the name of a file of each directory has no '/'".to_owned()),
        true => Ok(Line::Directories(DirectoryRules { file, inherited: !has('n') && !is_of_cvs })),
        false => Ok(Line::Merge(file)),
    }
}

impl Style {
    /// Returns the lines of `text` that are no remarks, with their numbers.
    pub(super) fn lines(self, text: &str) -> Vec<(usize, Cow<'_, str>)> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        match self.words {
            true => {
                lines.flat_map(|(number, line)| self.parts(line).into_iter().map(move |part| (number, part))).collect()
            }
            false => {
                let is_rule = |(_, line): &(usize, &str)| !line.is_empty() && !line.starts_with(['#', ';']);
                lines.filter(is_rule).map(|(number, line)| (number, line.into())).collect()
            }
        }
    }

    /// Returns the words of a line; a rule's prefix and its pattern are one.
    fn parts(self, line: &str) -> Vec<Cow<'_, str>> {
        let mut words = line.split_whitespace();
        let mut parts = Vec::new();
        while let Some(word) = words.next() {
            let is_of_cvs = || matches!(kind(word), Ok(('-', modifiers)) if modifiers.contains('C'));
            let is_alone = matches!(word, "!" | "clear") || word.contains('_') || is_of_cvs();
            let is_whole = self.form != Form::Rules || is_alone;
            let rest = if is_whole { None } else { words.next() };
            parts.push(rest.map_or(word.into(), |rest| format!("{word} {rest}").into()));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(bool, bool, Sides, String)> {
        match line(text, Form::Rules, "") {
            Ok(Line::Rule(Rule { include, negated, sides, glob, .. })) => {
                Some((include, negated, sides, glob.text().to_owned()))
            }
            _ => None,
        }
    }

    #[test]
    fn rules_are_read_in_their_short_and_long_forms() {
        for (text, include, negated, sides, pattern) in [
            ("- *.o", false, false, BOTH, "*.o"),
            ("-_*.o", false, false, BOTH, "*.o"),
            ("+  a", true, false, BOTH, " a"),
            ("exclude a b", false, false, BOTH, "a b"),
            ("include,! x", true, true, BOTH, "x"),
            ("-! x", false, true, BOTH, "x"),
            ("-s x", false, false, READ, "x"),
            ("-,r x", false, false, CHANGED, "x"),
            ("-sr x", false, false, BOTH, "x"),
            ("H x", false, false, READ, "x"),
            ("show x", true, false, READ, "x"),
            ("P x", false, false, CHANGED, "x"),
            ("risk_x", true, false, CHANGED, "x"),
        ] {
            assert_eq!(read(text), Some((include, negated, sides, pattern.to_owned())), "{text}");
        }
    }

    #[test]
    fn files_are_named_by_rules() {
        let file =
            |name: &str, style: Style, keeps_itself_out| MergedFile { name: name.into(), style, keeps_itself_out };
        let merged = |text: &str| match line(text, Form::Rules, "") {
            Ok(Line::Merge(file)) => file,
            other => panic!("{text}: {other:?}"),
        };
        let of_directories = |text: &str| match line(text, Form::Rules, "") {
            Ok(Line::Directories(DirectoryRules { file, inherited })) => (file, inherited),
            other => panic!("{text}: {other:?}"),
        };
        let bare = |include| Style::from(Form::Bare { include });
        assert_eq!(merged(". a b"), file("a b", Form::Rules.into(), false));
        assert_eq!(merged("merge,-e x"), file("x", bare(false), true));
        assert_eq!(merged(".sw x"), file("x", Style { words: true, sides: Some(READ), ..Form::Rules.into() }, false));
        let of_cvs = Style { words: true, clears: true, ..bare(false) };
        assert_eq!(merged(".C"), file(".cvsignore", of_cvs, false));
        assert_eq!(of_directories(":n+ .rules"), (file(".rules", bare(true), false), false));
        assert_eq!(
            of_directories("dir-merge,er x"),
            (file("x", Style { sides: Some(CHANGED), ..Form::Rules.into() }, true), true)
        );
        assert_eq!(of_directories(":Cs x"), (file("x", Style { sides: Some(READ), ..of_cvs }, false), false));
        assert!(matches!(line("!", Form::Rules, ""), Ok(Line::Clear)));
        assert!(matches!(line("clear", Form::Rules, ""), Ok(Line::Clear)));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "x", "*.o", "-", "- ", "+", "-z x", "-p", "-C x", "+C", "PC", "-C! ", "!x", "P,s x", ":", ": a/b", ".n x",
            ".! x", ".-+ x", "excluded", "- [a",
        ] {
            assert!(line(text, Form::Rules, "").is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_about_the_ends_that_it_is_named_for() {
        let style = Style { sides: Some(READ), ..Form::Rules.into() };
        assert!(matches!(line("- a", style, ""), Ok(Line::Rule(rule)) if rule.sides == READ));
        assert!(matches!(line(". x", style, ""), Ok(Line::Merge(file)) if file.style == style));
        for text in ["-s a", "H a", "P a", ".r x", ":s x", "-Cs"] {
            assert!(line(text, style, "").is_err(), "{text}");
        }
        assert!(matches!(line("!", style, ""), Ok(Line::Clear)));
        // There are no other attributes.
        assert!(matches!(line("-x user.*", Form::Rules, ""), Ok(Line::Rule(rule)) if rule.sides == NEITHER));
    }

    #[test]
    fn rules_may_be_about_paths_and_perish() {
        let rule = |text: &str, style: Style| match line(text, style, "in") {
            Ok(Line::Rule(rule)) => rule,
            other => panic!("{text}: {other:?}"),
        };
        let of = |text: &str| rule(text, Form::Rules.into());
        assert!(of("-/ /srv/x").means("x", "srv", false) && !of("-/ /srv/x").means("x", "", false));
        assert!(of("-/ /in/x").means("in/x", "", false) && !of("-/ /x").means("in/x", "", false));
        assert!(of("-/ up/x").means("x", "srv/up", false) && !of("- up/x").means("x", "srv/up", false));
        assert!(of("-!/ up/x").means("y", "srv/up", false) && !of("-!/ up/x").means("x", "srv/up", false));
        assert!(of("Pp x").perishable && of("risk,/p x").of_paths && !of("- x").perishable);
        let Ok(Line::Merge(file)) = line("./p more", Form::Rules, "") else { panic!("no file") };
        let own = rule("- x", file.style);
        assert!(own.perishable && own.of_paths && own.sides == BOTH);
        let Ok(Line::Directories(rules)) = line(": own", file.style, "") else { panic!("no file") };
        assert!(rule("- x", rules.file.style).perishable);
        let Ok(Line::Cvs(style)) = line("-Cs", file.style, "") else { panic!("no patterns") };
        let own = rule("*.o", style);
        assert!(own.perishable && own.of_paths && own.sides == READ && !own.include);
        assert!(matches!(line("exclude,C", Form::Rules, ""), Ok(Line::Cvs(Style::CVS))));
    }

    #[test]
    fn words_are_lines_where_that_is_asked_for() {
        let words = |form: Form, text| {
            let style = Style { words: true, ..form.into() };
            style.lines(text).into_iter().map(|(number, line)| format!("{number}:{line}")).collect::<Vec<_>>()
        };
        assert_eq!(words(Form::Rules, "- a + b\n! -_c\n#x y"), ["1:- a", "1:+ b", "2:!", "2:-_c", "3:#x y"]);
        assert_eq!(words(Form::Rules, "-C - a exclude,Cp +_b"), ["1:-C", "1:- a", "1:exclude,Cp", "1:+_b"]);
        assert_eq!(words(Form::Bare { include: false }, " a  b\n\n- c"), ["1:a", "1:b", "3:-", "3:c"]);
        let lines = Style::from(Form::Rules).lines("# no\n\n- a b\n;x");
        assert_eq!(lines, [(3, "- a b".into())]);
    }

    #[test]
    fn lists_of_patterns_have_prefixes_where_they_may() {
        let include = |text: &str, form| match line(text, form, "") {
            Ok(Line::Rule(rule)) => (rule.include, rule.glob.text().to_owned()),
            other => panic!("{other:?}"),
        };
        let patterns = Form::Patterns { include: false };
        assert_eq!(include("a", patterns), (false, "a".to_owned()));
        assert_eq!(include("+ a", patterns), (true, "a".to_owned()));
        assert_eq!(include("- a", Form::Patterns { include: true }), (false, "a".to_owned()));
        assert_eq!(include("- a", Form::Bare { include: true }), (true, "- a".to_owned()));
        assert!(matches!(line("!", patterns, ""), Ok(Line::Clear)));
    }

    #[test]
    fn a_pattern_with_a_slash_in_front_is_about_its_own_directory() {
        let Ok(Line::Rule(rule)) = line("- /x", Form::Rules, "a*/b") else { panic!("no rule") };
        assert!(rule.means("a*/b/x", "up", false));
        assert!(
            !rule.means("x", "up", false) && !rule.means("a*/b/c/x", "", false) && !rule.means("ab/b/x", "", false)
        );
        let Ok(Line::Rule(rule)) = line("- x", Form::Rules, "a") else { panic!("no rule") };
        assert!(rule.means("a/b/x", "", false) && rule.means("x", "", false));
    }
}
