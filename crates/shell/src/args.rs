//! The command line of the program.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use clap::{
    ArgAction, Args as _, CommandFactory as _, FromArgMatches as _, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use clap_complete::Shell;
use ferry_client::{Address, Fingerprint};
use log::LevelFilter;

use super::{
    command::{self, CopyArgs, WatchArgs},
    exit, given, one_shot,
    one_shot::OneShot,
    options::CommonOptions,
};

pub(crate) const ABOUT: &str = "Move files to and from a ferryd server; every transfer is verified";

/// The sources of commands, for `--help` and the manual.
pub(crate) const SOURCES: &str = "\
Without a subcommand, ferry reads commands from -c, from the terminal, or from standard input when that is no \
terminal; HELP lists them. 'ferry HOST' opens a server first. A subcommand does one command and leaves. HOST is \
a port of this machine, host:port, or a bookmark of the configuration file; USER@HOST logs in as USER.";

/// The details of `ferry cp`.
const COPYING: &str = "\
A name that is there already is replaced as a whole, when all of the new file has arrived and is verified: by the server \
that it comes from, on the way, and by the server that it goes to. A large file goes on after the connection to either \
server was lost, also in a later run. Times are kept, those of directories as well; permissions are with -p; holes of files \
stay holes where both servers know them.

Names are chosen as GET -r chooses them. There is no -F: no server has .ferryignore files.

HOST is a port of this machine, host:port, or a bookmark, with USER@ in front or without. In nas:12000:a the port is \
12000; nas:12000 is the file 12000 of the bookmark nas. A '/' before the name ends all doubt.

  ferry cp 12000:a.txt 13000:           keeps its name
  ferry cp nas:'*.iso' alice@vault:isos  all that match
  ferry cp -r nas:photos [::1]:12000:old/photos";

/// The details of `ferry watch`.
const WATCHING: &str = "\
It begins with a SYNC of all of it; then it sends what changes, when nobody has written into it for a moment. Nothing is \
deleted without --delete. A server that is away is waited for, and after that all is compared again; so it is after a \
restart. It ends by Ctrl-C, or when DIR is gone. The system limits how many directories are watched, by \
fs.inotify.max_user_watches.

  ferry watch site 12000:www
  ferry watch --delete -F . nas:backup";

/// The argument that names a server for the shell.
const SERVER: &str = "server";

/// The subcommand that the scripts of completions ask. Nobody types it.
pub(crate) const NAMES: &str = "complete-names";

/// The levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The parsed command line. An option that was not given is [`None`].
#[derive(Debug, clap::Parser)]
#[command(name = "ferry", version, about = ABOUT, args_override_self = true, after_help = format!("{SOURCES}\n\n{}", exit::HELP))]
pub(crate) struct Args {
    /// Run COMMANDS, separated by ';'; stop at the first that fails
    #[arg(short, long, value_name = "COMMANDS")]
    pub(crate) command: Option<String>,

    #[command(flatten)]
    pub(crate) options: CommonOptions,

    /// Speak TLS with any server [default: with those that are not on this machine]
    #[arg(long, global = true, conflicts_with = "plain")]
    pub(crate) tls: bool,

    /// Speak without TLS with any server: whoever is in between reads and changes what goes over
    #[arg(long, global = true)]
    pub(crate) plain: bool,

    /// Trust the server with this key and no other (SHA256:..., as the server's first line names it)
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) fingerprint: Option<Fingerprint>,

    /// Trust servers that are not known yet, and remember their keys
    #[arg(long, global = true)]
    pub(crate) accept_new: bool,

    /// Print one JSON object a line for all that happens; the manual lists them
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print only answers and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Print a line for each file, and the lines of the protocol ('>' sent, '<' received) on standard error
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// Read this configuration file instead of the usual one ('ferry config' names it)
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Log at this level: off, error, warn, info, debug, trace
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "off",
        value_parser = PossibleValuesParser::new(LEVELS).try_map(|level| level.parse::<LevelFilter>()),
        ignore_case = true,
        hide_possible_values = true
    )]
    pub(crate) log_level: LevelFilter,

    /// Log to FILE instead of standard error
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log_file: Option<PathBuf>,

    /// The server that the shell opens to begin with.
    #[arg(skip)]
    pub(crate) host: Option<String>,

    /// The common options as they were typed, by their keys.
    #[arg(skip)]
    pub(crate) texts: BTreeMap<String, String>,

    /// The one thing to do, if the command line names one.
    #[arg(skip)]
    pub(crate) action: Option<Action>,
}

/// The meaning of a subcommand.
#[derive(Debug)]
pub(crate) enum Action {
    /// A command of the shell, at a server.
    OneShot(Box<OneShot>),
    /// The place of the configuration file, and an example.
    Config,
    /// Completions for a shell of the system.
    Completions(Shell),
    /// The manual page.
    Man,
    /// Names of a server that could stand at the end of a line of a system's shell. Bash tells which characters break
    /// words.
    Names { line: String, bash: Option<String> },
    /// A directory of a server that follows a local one.
    Watch(Box<WatchArgs>),
    /// A copy from one server to another.
    Copy(Box<CopyArgs>),
}

/// Returns the whole command line.
pub(crate) fn command() -> clap::Command {
    let host = clap::Arg::new(SERVER).value_name("HOST").value_hint(ValueHint::Hostname).help(
        "Open this server and go on there: a port of this machine, host:port, or a bookmark; USER@ in front logs in",
    );
    let line = clap::Arg::new("line").required(true).allow_hyphen_values(true);
    let breaks = clap::Arg::new("bash").long("bash").value_name("BREAKS").allow_hyphen_values(true);
    let names = clap::Command::new(NAMES).about("Print what the scripts of 'completions' ask for").hide(true);
    let names = names.args([breaks, line]);
    command_for_completions().subcommand(names).arg(host)
}

/// Returns the command line as the shells of the system complete it: without the server for the shell, after which they
/// would expect the subcommand.
pub(crate) fn command_for_completions() -> clap::Command {
    let own = [
        clap::Command::new("config").about("Say where the configuration file is, and print an example"),
        clap::Command::new("completions").about("Print completions for a shell, to be sourced by it").arg(
            clap::Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(clap::value_parser!(Shell))
                .action(ArgAction::Set),
        ),
        clap::Command::new("man").about("Print the manual page, for 'man -l -'"),
        CopyArgs::augment_args(
            clap::Command::new("cp")
                .visible_alias("copy")
                .about("Copy files from one server to another; nothing of them is kept here")
                .after_help(COPYING),
        ),
        WatchArgs::augment_args(
            clap::Command::new("watch")
                .about("Keep a directory of a server like a local one, as it changes")
                .after_help(WATCHING),
        ),
    ];
    // What a subcommand has of its own stands before what all have.
    let mut place = 100;
    let after = |arg: clap::Arg| {
        place += 1;
        let is_global = arg.is_global_set() || arg.get_id() == "keep_going";
        arg.display_order(place).global(is_global)
    };
    Args::command()
        .mut_args(after)
        .args_conflicts_with_subcommands(false)
        .subcommand_value_name("SUBCOMMAND")
        .subcommands(one_shot::subcommands())
        .subcommands(own)
}

impl Args {
    /// Reads a command line, the name of the program first.
    ///
    /// # Errors
    ///
    /// A command line that asks for help, or that cannot be read.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Args, clap::Error> {
        let mut command = command();
        let arguments: Vec<OsString> = command::arrow_as_option(arguments).collect();
        let matches = command.try_get_matches_from_mut(&arguments);
        let matches = matches.map_err(|error| misspelt(&command, &arguments).unwrap_or(error))?;
        let mut args = Args::from_arg_matches(&matches)?;
        args.texts = given::typed(&matches);
        args.host = matches.get_one::<String>(SERVER).cloned();
        args.action = match matches.subcommand() {
            None => None,
            Some(("config", _)) => Some(Action::Config),
            Some(("man", _)) => Some(Action::Man),
            Some((NAMES, given)) => {
                let text = |name: &str| given.get_one::<String>(name).cloned();
                Some(Action::Names { line: text("line").unwrap_or_default(), bash: text("bash") })
            }
            Some(("watch", given)) => Some(Action::Watch(Box::new(WatchArgs::from_arg_matches(given)?))),
            Some(("cp", given)) => Some(Action::Copy(Box::new(CopyArgs::from_arg_matches(given)?))),
            Some(("completions", chosen)) => chosen.get_one::<Shell>("shell").copied().map(Action::Completions),
            Some(_) => {
                let one_shot = OneShot::read(&matches);
                let one_shot = one_shot.map_err(|why| command.error(clap::error::ErrorKind::InvalidValue, why))?;
                Some(Action::OneShot(Box::new(one_shot)))
            }
        };
        if args.action.is_some() && args.command.is_some() {
            let why = "-c stands for itself: a subcommand takes no other commands";
            return Err(command.error(clap::error::ErrorKind::ArgumentConflict, why));
        }
        if let (Some(_), Some(host), Some(verb)) = (&args.action, &args.host, matches.subcommand_name()) {
            let why = format!("the server stands after the subcommand: ferry {verb} {host} ...");
            return Err(command.error(clap::error::ErrorKind::ArgumentConflict, why));
        }
        Ok(args)
    }
}

/// Returns the error to report where the first word was meant as a subcommand and is none: the parser's own
/// is about what stands after it.
fn misspelt(command: &clap::Command, arguments: &[OsString]) -> Option<clap::Error> {
    let [_, first, _, ..] = arguments else { return None };
    let first = first.to_str().filter(|first| !first.starts_with('-') && first.parse::<Address>().is_err())?;
    let is_known = command.find_subcommand(first).is_some() || first == "help";
    let error = || command.clone().error(clap::error::ErrorKind::InvalidSubcommand, one_shot::unknown(first));
    (!is_known).then(error)
}

#[cfg(test)]
impl Args {
    /// Parses these arguments.
    pub(crate) fn of(arguments: &[&str]) -> Args {
        let arguments = std::iter::once("ferry").chain(arguments.iter().copied());
        Args::read(arguments.map(Into::into)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn refused(arguments: &[&str]) -> String {
        let arguments = std::iter::once("ferry").chain(arguments.iter().copied());
        Args::read(arguments.map(Into::into)).unwrap_err().to_string()
    }

    #[test]
    fn the_options_hold_together() {
        command().debug_assert();
        let args = Args::of(&["-c", "QUIT", "--timeout", "0.5", "--keep-going"]);
        assert_eq!((args.command.as_deref(), args.options.timeout), (Some("QUIT"), Some(Duration::from_millis(500))));
        assert_eq!((args.options.keep_going.keep_going, args.options.retry), (Some(true), None));
        for wrong in ["0", "-1", "inf", "nan", "x", "1e9"] {
            refused(&["--timeout", wrong]);
        }
        for wrong in ["-1", "1.5", "x", "99999999999999999999"] {
            refused(&["--retry", wrong]);
            refused(&["--parallel", wrong]);
        }
        for (option, wrong) in [
            ("--retry", "-3"),
            ("--timeout", "-1"),
            ("--retry-for", "-5s"),
            ("--min-rate", "-1"),
            ("--limit-rate", "0"),
        ] {
            let said = refused(&[option, wrong, "ls", "1"]);
            assert!(
                said.contains(&format!("invalid value '{wrong}' for '{option}")) && said.contains("needed"),
                "{said}"
            );
        }
        let said = refused(&["sync", "1", "a", "-M", "-3"]);
        assert!(said.contains("'--max-delete <N>': a whole number is needed, 0 or more"), "{said}");
        refused(&["--parallel", "0"]);
        refused(&["--keep-going=x"]);
        refused(&["--progress", "bar"]);
        refused(&["-q", "-v"]);
        assert!(refused(&["gte", "12000", "-r"]).contains("did you mean ferry get?"));
        assert!(refused(&["nas", "--frob"]).contains("'nas' is no subcommand"));
        assert!(refused(&["12000", "--frob"]).contains("--frob"));
        // Help comes as an error.
        assert!(refused(&["help", "get"]).contains("In the shell: GET"));
    }

    #[test]
    fn options_stand_before_and_after_a_subcommand() {
        for arguments in [["--json", "get", "12000", "a"], ["get", "12000", "a", "--json"]] {
            let args = Args::of(&arguments);
            assert!(args.json);
            assert!(matches!(args.action, Some(Action::OneShot(one)) if one.host == "12000"));
        }
        assert!(matches!(Args::of(&["completions", "fish"]).action, Some(Action::Completions(Shell::Fish))));
        assert!(matches!(Args::of(&["man"]).action, Some(Action::Man)));
        assert!(refused(&["-c", "QUIT", "get", "12000", "a"]).contains("takes no other commands"));
        assert!(refused(&["put", "12000", "-", "-"]).contains("-o NAME"));
        assert!(refused(&["12000", "ls", "poems"]).contains("ferry ls 12000"));
        let opened = Args::of(&["nas:1", "-c", "LS"]);
        assert_eq!((opened.host.as_deref(), opened.command.as_deref()), (Some("nas:1"), Some("LS")));
        assert_eq!(Args::of(&["get", "12000", "a"]).host, None);
    }
}
