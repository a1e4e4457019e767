//! The settings of a run: from the command line, then the configuration file, then the defaults.

use std::{collections::BTreeMap, num::NonZeroU64, path::PathBuf, time::Duration};

use ferry_client::{IfAbsent, Settings};

use super::{
    args::Args,
    command::Aliases,
    config::{self, Config},
    exit::Failed,
    options::CommonOptions,
    output::{Format, Level},
    paths,
    progress::Mode,
    trust::Server,
};

const USUAL_DIRECTORY: &str = "./client";
const CURRENT_DIRECTORY: &str = ".";
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);
const USUAL_MIN_RATE: u64 = 1024;
const USUAL_TREE_MEMORY: usize = 512 << 20;

/// A server that is restarted, or a line that is down for a moment, ends no transfer of an hour.
const USUAL_TREE_RETRY_FOR: Duration = Duration::from_secs(300);

/// The settings of a run.
#[derive(Debug)]
pub(crate) struct Choices {
    pub(crate) directory: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) settings: Settings,
    /// Whether commands go on after a failure, where that was said.
    pub(crate) keep_going: Option<bool>,
    /// For how long an outage is waited for while whole directories are moved.
    pub(crate) tree_retry_for: Duration,
    /// Whether a subcommand waits for a server that can't be found: not unless somebody asked for it, for most
    /// servers that are not there will not be there soon either.
    pub(crate) if_absent: IfAbsent,
    pub(crate) min_rate: u64,
    /// The most bytes a second, each way.
    pub(crate) limit_rate: Option<NonZeroU64>,
    pub(crate) tree_memory: usize,
    pub(crate) progress: Mode,
    pub(crate) level: Level,
    pub(crate) format: Format,
    pub(crate) bookmarks: BTreeMap<String, Server>,
    pub(crate) aliases: Aliases,
}

/// How the program was called, as far as settings depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    is_subcommand: bool,
    level: Level,
    format: Format,
}

impl Call {
    pub(crate) fn of(args: &Args) -> Call {
        let level = match (args.quiet, args.verbose) {
            (true, _) => Level::Quiet,
            (_, true) => Level::Verbose,
            _ => Level::Normal,
        };
        let format = if args.json { Format::Json } else { Format::Text };
        Call { is_subcommand: args.action.is_some(), level, format }
    }
}

impl Choices {
    /// Reads the configuration file and puts the command line above it.
    pub(crate) fn make(args: &Args) -> Result<Choices, Failed> {
        Ok(Choices::of(args, config::load(args.config.as_deref())?))
    }

    pub(crate) fn of(args: &Args, config: Config) -> Choices {
        Choices::merged(&args.options, Call::of(args), config)
    }

    /// Puts the options `line` above those of the file.
    pub(crate) fn merged(line: &CommonOptions, call: Call, config: Config) -> Choices {
        let usual = Settings::default();
        // Either one on the command line stands above both in the file.
        let (retries, retry_for) = match (line.retry, line.retry_for) {
            (None, None) => (config.options.retry, config.options.retry_for),
            given => given,
        };
        let usual_retries = if retry_for.is_some() { 0 } else { usual.retries };
        let if_absent = if (retries, retry_for) == (None, None) { IfAbsent::Fail } else { IfAbsent::Wait };
        let usual_tree = if retries.is_some() { Duration::ZERO } else { USUAL_TREE_RETRY_FOR };
        let settings = Settings {
            retries: retries.unwrap_or(usual_retries),
            retry_for: retry_for.unwrap_or_default(),
            parallel: line.parallel.or(config.options.parallel).unwrap_or(usual.parallel),
            state: paths::uploads(),
            ..usual
        };
        // A subcommand is one of the system's own shell, whose words are about the directory that one is in.
        let usual_directory = if call.is_subcommand { Some(CURRENT_DIRECTORY.into()) } else { config.options.dir };
        let progress = line.progress.or(config.options.progress).unwrap_or(Mode::Auto);
        let Call { level, format, .. } = call;
        Choices {
            directory: line.dir.clone().or(usual_directory).unwrap_or_else(|| USUAL_DIRECTORY.into()),
            timeout: line.timeout.or(config.options.timeout).unwrap_or(USUAL_TIMEOUT),
            settings,
            keep_going: line.keep_going.keep_going.or(config.options.keep_going.keep_going),
            tree_retry_for: retry_for.unwrap_or(usual_tree),
            if_absent,
            tree_memory: line.tree_memory.or(config.options.tree_memory).unwrap_or(USUAL_TREE_MEMORY),
            min_rate: line.min_rate.or(config.options.min_rate).unwrap_or(USUAL_MIN_RATE),
            limit_rate: line.limit_rate.or(config.options.limit_rate),
            // Bars among the lines of the protocol could not be read, and programs and the quiet want none.
            progress: if progress == Mode::Auto && (level != Level::Normal || format == Format::Json) {
                Mode::Never
            } else {
                progress
            },
            level,
            format,
            bookmarks: config.bookmarks,
            aliases: config.aliases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_what_is_usual() {
        let config = || {
            config::parse("dir = '/from/file'\ntimeout = 7\nretry = 7\nkeep_going = true\nprogress = 'never'").unwrap()
        };
        let none = Choices::of(&Args::of(&[]), Config::default());
        assert_eq!((none.directory, none.timeout, none.progress), ("./client".into(), USUAL_TIMEOUT, Mode::Auto));
        assert_eq!(Settings { state: None, ..none.settings }, Settings::default());
        assert_eq!((none.if_absent, none.tree_retry_for.as_secs()), (IfAbsent::Fail, 300));

        let file = Choices::of(&Args::of(&[]), config());
        assert_eq!((file.directory, file.timeout.as_secs()), ("/from/file".into(), 7));
        assert_eq!((file.settings.retries, file.if_absent, file.progress), (7, IfAbsent::Wait, Mode::Never));
        assert_eq!((none.keep_going, file.keep_going), (None, Some(true)));

        let one_shot = Choices::of(&Args::of(&["get", "1", "a"]), config());
        assert_eq!((one_shot.directory, one_shot.timeout.as_secs()), (".".into(), 7));
        let one_shot = Choices::of(&Args::of(&["get", "1", "a", "--dir", "x"]), config());
        assert_eq!(one_shot.directory.as_os_str(), "x");

        let line = ["--dir", "x", "--timeout", "8", "--retry", "8", "--keep-going=false", "--progress", "auto"];
        let line = Choices::of(&Args::of(&line), config());
        assert_eq!((line.directory, line.timeout.as_secs()), ("x".into(), 8));
        assert_eq!((line.settings.retries, line.if_absent, line.progress), (8, IfAbsent::Wait, Mode::Auto));
        assert_eq!(line.keep_going, Some(false));
    }

    #[test]
    fn outages_are_waited_for_by_count_or_by_time() {
        let of = |arguments: &[&str], config: Config| {
            let choices = Choices::of(&Args::of(arguments), config);
            let Settings { retries, retry_for, .. } = choices.settings;
            (retries, retry_for.as_secs(), choices.tree_retry_for.as_secs(), choices.if_absent)
        };
        assert_eq!(of(&[], Config::default()), (5, 0, 300, IfAbsent::Fail));
        assert_eq!(of(&["--retry", "7"], Config::default()), (7, 0, 0, IfAbsent::Wait));
        assert_eq!(of(&["--retry-for", "1h"], Config::default()), (0, 3600, 3600, IfAbsent::Wait));
        assert_eq!(of(&["--retry-for", "1h", "--retry", "2"], Config::default()), (2, 3600, 3600, IfAbsent::Wait));
        let file = || config::parse("retry_for = '1h'").unwrap();
        assert_eq!(of(&[], file()), (0, 3600, 3600, IfAbsent::Wait));
        assert_eq!(of(&["--retry", "7"], file()), (7, 0, 0, IfAbsent::Wait));
    }

    #[test]
    fn whoever_reads_lines_gets_no_bars() {
        for option in ["--json", "--quiet", "--verbose"] {
            assert_eq!(Choices::of(&Args::of(&[option]), Config::default()).progress, Mode::Never, "{option}");
        }
        let lines = Choices::of(&Args::of(&["--json", "--progress", "lines"]), Config::default());
        assert_ne!(lines.progress, Mode::Never);
    }
}
