//! Command line, environment and file, put together: of each option the value of the highest precedence.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Error, FromArgMatches as _, builder::Resettable, error::ErrorKind, parser::ValueSource};

use super::usual_users_file;
use super::{
    arguments::{Arguments, takes},
    error::{Obstacle, StartError},
    file::Place,
    keys::{CONFIG, Key, Keys},
    setting::{Origin, Setting, Value},
};
use crate::commands::Command;

/// The variable with the path of the file.
const CONFIG_VARIABLE: &str = "FERRYD_CONFIG";

/// All that was set, and the options that come of it.
#[derive(Debug)]
pub struct Configuration {
    keys: Keys,
    place: Option<Place>,
    /// Settings of the command line, the environment, and a socket that was inherited. No reload
    /// changes them.
    given: Vec<Setting>,
    /// The setting that counts of each option that was set.
    pub(super) settings: Vec<Setting>,
    problems: Vec<StartError>,
    warnings: Vec<String>,
    arguments: Arguments,
}

impl Configuration {
    /// Reads the command line, the environment and the file.
    ///
    /// Settings in the environment or in the file that are wrong are left out, and told by
    /// [`problems`](Self::problems).
    ///
    /// # Errors
    ///
    /// An invalid command line, or a request for help or the version.
    pub fn read() -> Result<Configuration, Error> {
        Configuration::of(env::args_os().collect(), &|name| env::var_os(name), env::vars_os())
    }

    pub(super) fn of(
        typed: Vec<OsString>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Configuration, Error> {
        let keys = Keys::new();
        let matches = lenient(keys.command()).try_get_matches_from(command_first(keys.command(), typed))?;
        let command = matches.subcommand().map(|_| Command::from_arg_matches(&matches)).transpose()?;
        let options = match matches.subcommand() {
            None => Some(&matches),
            Some((name, options)) => takes(name, CONFIG).then_some(options),
        };
        let Some(options) = options else {
            // A command that has nothing to do with serving.
            let arguments = Arguments { command, ..arguments_of(&keys, &[])? };
            let (given, settings, problems, warnings) = Default::default();
            return Ok(Configuration { keys, place: None, given, settings, problems, warnings, arguments });
        };
        let mut given = typed_settings(&keys, options);
        let (of_environment, mut problems) = environment(&keys, variable);
        given.extend(of_environment);
        let named = options.get_one::<PathBuf>(CONFIG).cloned();
        let named = named.or_else(|| variable(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from));
        let place = Place::find(named, variable);
        let content = place.as_ref().map(|place| place.read(&keys)).unwrap_or_default();
        problems.extend(content.problems);
        let settings = merge(&keys, given.iter().cloned().chain(content.settings).collect(), &mut problems);
        let arguments = Arguments { command, ..arguments_at(&keys, &settings, place.as_ref())? };
        let warnings = content.warning.into_iter().chain(unknown_variables(&keys, variables)).collect();
        Ok(Configuration { keys, place, given, settings, problems, warnings, arguments })
    }

    /// Returns the options.
    #[must_use]
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// Returns all that is wrong in the environment and in the file.
    #[must_use]
    pub fn problems(&self) -> &[StartError] {
        &self.problems
    }

    /// Returns warnings for the log: of a variable that looks like one of these and is none, of a
    /// file that others may write.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the path of the file, where there may be one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.place.as_ref().map(|place| &*place.path)
    }

    /// Returns the path of the users file, whether there is one or not, and whether somebody named
    /// it; [`None`] where nothing says where it would be.
    #[must_use]
    pub fn users_file(&self) -> Option<(PathBuf, bool)> {
        let named = self.arguments.users.clone().map(|path| (path, true));
        named.or_else(|| usual_users_file(&self.arguments).map(|path| (path, false)))
    }

    /// Returns the first problem as an error, if there is one.
    ///
    /// # Errors
    ///
    /// The first problem, with the number of further ones.
    pub fn holds(&self) -> Result<(), StartError> {
        let Some(problem) = self.problems.first() else { return Ok(()) };
        let more = match self.problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more: ferryd check)"),
        };
        Err(StartError::new(problem.obstacle, format!("{problem}{more}")))
    }

    /// Returns each option with its value, as it may stand in the file, and its origin. The absence
    /// of a value is described in words.
    pub fn explained(&self) -> impl Iterator<Item = (String, Result<String, String>, Origin)> {
        self.keys.all().map(|key| {
            let setting = self.settings.iter().find(|setting| setting.id == key.id());
            let (value, origin) = match setting {
                Some(setting) => (Ok(setting.value.to_string()), setting.origin.clone()),
                None => (unset(&key), Origin::Default),
            };
            (key.name(), value, origin)
        })
    }

    /// Puts settings into the place of those that this has, and makes the options of them.
    ///
    /// # Errors
    ///
    /// Where they do not go together.
    pub(super) fn with(&self, given: Vec<Setting>, settings: Vec<Setting>) -> Result<Configuration, StartError> {
        let arguments = arguments_at(&self.keys, &settings, self.place.as_ref())
            .map_err(|error| StartError::new(Obstacle::Configuration, first_line(&error)))?;
        let (keys, place, problems, warnings) = (Keys::new(), self.place.clone(), Vec::new(), self.warnings.clone());
        Ok(Configuration { keys, place, given, settings, problems, warnings, arguments })
    }

    /// Returns the settings that count with the file as it is now, and those given elsewhere.
    ///
    /// # Errors
    ///
    /// The first problem in it.
    pub(super) fn read_file_again(&self) -> Result<Vec<Setting>, StartError> {
        let content = self.place.as_ref().map(|place| place.read(&self.keys)).unwrap_or_default();
        let mut problems = content.problems;
        let all = self.given.iter().cloned().chain(content.settings).collect();
        let settings = merge(&self.keys, all, &mut problems);
        problems.into_iter().next().map_or(Ok(settings), Err)
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn given(&self) -> &[Setting] {
        &self.given
    }
}

fn unset(key: &Key<'_>) -> Result<String, String> {
    match key.default() {
        Some(value) if key.is_flag() => Ok(value),
        Some(value) => Ok(super::setting::quoted(&value)),
        None => Err(key.unset().unwrap_or_else(|| "not set".into())),
    }
}

/// Moves options that stand before a command behind it, where they mean the same: `ferryd --config F check`.
fn command_first(command: &clap::Command, mut typed: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(word) = typed.get(at).and_then(|word| word.to_str()) {
        if command.find_subcommand(word).is_some() {
            typed[1..=at].rotate_right(1);
            break;
        }
        let Some(name) = word.strip_prefix("--") else { break };
        let long = name.split_once('=').map_or(name, |(long, _)| long);
        let Some(option) = command.get_arguments().find(|arg| arg.get_long() == Some(long)) else { break };
        at += if option.get_action().takes_values() && long == name { 2 } else { 1 };
    }
    typed
}

/// Takes from the command line what another source may make good: options that exclude or need each other.
fn lenient(command: &clap::Command) -> clap::Command {
    let alone = |arg: clap::Arg| arg.requires(Resettable::Reset).conflicts_with(Resettable::Reset);
    let names = command.get_subcommands().map(clap::Command::get_name).filter(|name| takes(name, CONFIG));
    names.fold(command.clone().mut_args(alone), |command, name| command.mut_subcommand(name, |sub| sub.mut_args(alone)))
}

/// Makes the options of settings, by parsing the command line that they could have been typed as.
fn arguments_of(keys: &Keys, settings: &[Setting]) -> Result<Arguments, Error> {
    let name = OsString::from(keys.command().get_name());
    let (mut typed, mut last) = (vec![name], Vec::new());
    for setting in settings {
        let Some(key) = keys.of_id(&setting.id) else { continue };
        match &setting.value {
            Value::Flag(false) => {}
            Value::Flag(true) => typed.push(key.typed().into()),
            Value::Words(words) if key.is_positional() => last.extend(words.iter().cloned()),
            Value::Words(words) => typed.extend(words.iter().map(|word| {
                let mut option = OsString::from(format!("{}=", key.typed()));
                option.push(word);
                option
            })),
        }
    }
    typed.push("--".into());
    typed.extend(last);
    Arguments::from_arg_matches(&keys.command().clone().try_get_matches_from(typed)?)
}

fn arguments_at(keys: &Keys, settings: &[Setting], place: Option<&Place>) -> Result<Arguments, Error> {
    let config = place.map(|place| place.path.clone());
    Ok(Arguments { config, ..arguments_of(keys, settings)? })
}

/// Returns the settings of the command line.
fn typed_settings(keys: &Keys, matches: &ArgMatches) -> Vec<Setting> {
    let typed = |key: &Key<'_>| {
        // Some commands take a part of the options.
        let values = matches.try_get_raw(key.id()).ok().flatten();
        (matches.value_source(key.id()) == Some(ValueSource::CommandLine)).then(|| Setting {
            id: key.id().into(),
            value: match key.is_flag() {
                true => Value::Flag(true),
                false => Value::Words(values.into_iter().flatten().map(OsStr::to_owned).collect()),
            },
            origin: Origin::CommandLine,
        })
    };
    keys.all().filter(|key| matches.try_contains_id(key.id()).unwrap_or(false)).filter_map(|key| typed(&key)).collect()
}

/// Returns the settings of the variables, and all problems with them.
fn environment(keys: &Keys, variable: &dyn Fn(&str) -> Option<OsString>) -> (Vec<Setting>, Vec<StartError>) {
    let (mut settings, mut problems) = (Vec::new(), Vec::new());
    for key in keys.all() {
        let name = key.variable();
        // Many programs unset a variable by making it empty.
        let Some(word) = variable(&name).filter(|word| !word.is_empty()) else { continue };
        match value_of(&key, &word) {
            Ok(value) => settings.push(Setting { id: key.id().into(), value, origin: Origin::Environment(name) }),
            Err(problem) => {
                let problem = format!("{name}={}: {problem}", word.to_string_lossy());
                problems.push(StartError::new(Obstacle::Configuration, problem));
            }
        }
    }
    (settings, problems)
}

fn value_of(key: &Key<'_>, word: &OsStr) -> Result<Value, String> {
    if key.is_flag() {
        return match word.to_str() {
            Some("1" | "true") => Ok(Value::Flag(true)),
            Some("0" | "false") => Ok(Value::Flag(false)),
            _ => Err("it must be 1 or true, 0 or false".into()),
        };
    }
    let words: Vec<OsString> = match word.to_str() {
        Some(text) if key.is_list() => text.split(',').map(|part| part.trim().into()).collect(),
        _ => vec![word.to_owned()],
    };
    words.iter().try_for_each(|word| key.check(word))?;
    Ok(Value::Words(words))
}

/// Returns a warning of variables that begin as these do, and are none: orchestrators set some for
/// their own use.
fn unknown_variables(keys: &Keys, variables: impl Iterator<Item = (OsString, OsString)>) -> Option<String> {
    let is_known = |name: &str| name == CONFIG_VARIABLE || keys.all().any(|key| key.variable() == name);
    let names = variables.filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with("FERRYD_") && !is_known(name)).collect();
    unknown.sort();
    let meant = unknown.iter().find_map(|name| {
        let key = keys.meant(name.trim_start_matches("FERRYD_"))?;
        Some(format!("; did you mean {}?", keys.named(&key)?.variable()))
    });
    (!unknown.is_empty())
        .then(|| format!("variables that set nothing: {}{}", unknown.join(", "), meant.unwrap_or_default()))
}

/// Chooses the settings that count: of each option the value of the highest precedence, and of two
/// that exclude each other that of the higher one. Two of one source are a problem, as is one that
/// lacks what it needs.
fn merge(keys: &Keys, mut all: Vec<Setting>, problems: &mut Vec<StartError>) -> Vec<Setting> {
    all.sort_by_key(|setting| std::cmp::Reverse(setting.origin.rank()));
    let mut chosen: Vec<Setting> = Vec::new();
    for setting in all {
        if chosen.iter().any(|other| other.id == setting.id) {
            continue;
        }
        let rival = chosen
            .iter()
            .find(|other| setting.value.is_on() && other.value.is_on() && keys.conflict(&setting.id, &other.id));
        match rival {
            None => chosen.push(setting),
            Some(rival) if rival.origin.rank() > setting.origin.rank() => {}
            // Of these clap says the same.
            Some(rival) if rival.origin == Origin::CommandLine => chosen.push(setting),
            Some(rival) => problems.push(together(keys, &setting, rival)),
        }
    }
    let lacking: Vec<_> = chosen.iter().filter_map(|setting| lacks(keys, setting, &chosen)).collect();
    chosen.retain(|setting| !lacking.iter().any(|(id, _)| *id == setting.id));
    problems.extend(lacking.into_iter().map(|(_, problem)| problem));
    let place = |setting: &Setting| keys.all().position(|key| key.id() == setting.id);
    chosen.sort_by_key(place);
    chosen
}

fn together(keys: &Keys, setting: &Setting, rival: &Setting) -> StartError {
    let name = |setting: &Setting| keys.of_id(&setting.id).map(|key| key.name()).unwrap_or_default();
    let (one, other) = (name(setting), name(rival));
    let problem = format!("{}: {one} can't stand together with {other} ({})", setting.origin, rival.origin);
    StartError::new(Obstacle::Configuration, problem)
}

/// Says that an option, not one of the command line, lacks another one that it needs.
fn lacks(keys: &Keys, setting: &Setting, all: &[Setting]) -> Option<(String, StartError)> {
    if setting.origin == Origin::CommandLine {
        return None;
    }
    let is_lacking = |settings: &[Setting]| {
        arguments_of(keys, settings).is_err_and(|error| error.kind() == ErrorKind::MissingRequiredArgument)
    };
    // Others that are set may be what it needs.
    if !is_lacking(std::slice::from_ref(setting)) || !is_lacking(all) {
        return None;
    }
    let needed = keys.all().filter(|key| key.id() != setting.id).find(|key| {
        let value = if key.is_flag() { Value::Flag(true) } else { Value::Words(vec![key.example().into()]) };
        let other = Setting { id: key.id().into(), value, origin: Origin::Default };
        arguments_of(keys, &[setting.clone(), other]).is_ok()
    });
    let needed = needed.map_or_else(|| "another option".to_owned(), |key| key.name());
    let name = keys.of_id(&setting.id).map(|key| key.name()).unwrap_or_default();
    let problem = format!("{}: {name} needs {needed} as well", setting.origin);
    Some((setting.id.clone(), StartError::new(Obstacle::Configuration, problem)))
}

/// Returns an error of clap's in one line.
fn first_line(error: &Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
