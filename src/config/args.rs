//! The command line: `[/path/to/redis.conf] [--name value ...] [-]`. Invariant: an option is worth
//! exactly the line of a configuration file that it becomes. Source: Redis 8.0.6.

use crate::base::number::parse_i64;
use crate::base::words::{push_quoted, split_args};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Run the server.
    Serve(Sources),
    /// Print the version and exit with 0.
    Version,
    /// Print the usage to standard error and exit with 1.
    Help,
    /// Test this many megabytes; None if it was not said how many.
    TestMemory(Option<Vec<u8>>),
    /// Check the system's settings.
    CheckSystem,
    /// Check an AOF; None if it was not said which.
    CheckAof(Option<AofCheck>),
}

/// Which AOF is checked, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AofCheck {
    /// The manifest, or a single file.
    pub path: Vec<u8>,
    /// What is torn is cut off.
    pub fixes: bool,
    /// What happened after this time, in seconds, is cut off.
    pub latest: Option<i64>,
}

/// Where the configuration comes from, in the order in which the pieces are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The configuration file, as given.
    pub file: Option<Vec<u8>>,
    /// Whether standard input follows.
    pub stdin: bool,
    /// The options as lines of a configuration file. None if there were no arguments at all.
    pub options: Option<Vec<u8>>,
}

/// Reads the arguments after the program's name. What is wrong with an option shows when its line
/// is loaded.
pub fn parse_args(args: &[Vec<u8>]) -> Startup {
    let Some(first) = args.first() else { return Startup::Serve(Sources::default()) };
    match first.as_slice() {
        b"-v" | b"--version" => return Startup::Version,
        b"-h" | b"--help" => return Startup::Help,
        b"--test-memory" => {
            let [_, megabytes] = args else { return Startup::TestMemory(None) };
            return Startup::TestMemory(Some(megabytes.clone()));
        }
        b"--check-system" => return Startup::CheckSystem,
        b"--check-aof" => return Startup::CheckAof(parse_aof_check(&args[1..])),
        _ => {}
    }
    let is_file = !first.starts_with(b"-");
    let mut sources = Sources { file: is_file.then(|| first.clone()), ..Sources::default() };
    let mut options = Vec::new();
    // An argument that starts with `--` is a value while the option before it has none.
    let mut option_has_value = true;
    for (at, arg) in args.iter().enumerate().skip(usize::from(is_file)) {
        let next = args.get(at + 1);
        if arg == b"-" && (at == 0 || next.is_none()) {
            sources.stdin = true;
        } else if let Some(option) = arg.strip_prefix(b"--").filter(|_| option_has_value) {
            option_has_value = has_value(arg, next);
            push_option(&mut options, option, next);
        } else {
            push_quoted(&mut options, arg);
            options.push(b' ');
            option_has_value = true;
        }
    }
    sources.options = Some(options);
    Startup::Serve(sources)
}

/// Reads what stands behind `--check-aof`.
fn parse_aof_check(args: &[Vec<u8>]) -> Option<AofCheck> {
    let (path, mut options) = args.split_last()?;
    let mut check = AofCheck { path: path.clone(), ..AofCheck::default() };
    loop {
        match options {
            [] => return Some(check),
            [option, rest @ ..] if option == b"--fix" => {
                check.fixes = true;
                options = rest;
            }
            [option, seconds, rest @ ..] if option == b"--truncate-to-timestamp" => {
                check.latest = Some(parse_i64(seconds)?);
                options = rest;
            }
            _ => return None,
        }
    }
}

/// Starts the line of an option. `--save` with nothing behind it turns saving off.
fn push_option(options: &mut Vec<u8>, option: &[u8], next: Option<&Vec<u8>>) {
    if !options.is_empty() {
        options.push(b'\n');
    }
    options.extend(option);
    options.push(b' ');
    if option.eq_ignore_ascii_case(b"save") && next.is_none_or(|next| next.starts_with(b"--")) {
        options.extend(b"\"\"");
    }
}

/// Whether what follows an option is a new one in any case: after `"--port 6380"`, which holds its
/// value (an unclosed quote counts as one), and after the two that may stand alone.
fn has_value(arg: &[u8], next: Option<&Vec<u8>>) -> bool {
    let alone = arg.eq_ignore_ascii_case(b"--save") || arg.eq_ignore_ascii_case(b"--sentinel");
    split_args(arg).is_none_or(|words| words.len() != 1)
        || alone && next.is_some_and(|next| next.starts_with(b"--"))
}

/// The text of `--help`.
pub fn usage(program: &str) -> String {
    format!(
        "Usage: {program} [/path/to/redis.conf] [options] [-]\n\
         \n\
         \x20 /path/to/redis.conf       a configuration file, as Redis and Valkey read it\n\
         \x20 --<directive> <value>...  a directive of that file; comes after it, so it wins\n\
         \x20 -                         read more of the file from standard input (first or last)\n\
         \x20 -v, --version             print the version\n\
         \x20 -h, --help                print this text\n\
         \x20 --check-system            check the system's settings\n\
         \x20 --check-aof [--fix] [--truncate-to-timestamp <seconds>] <file.manifest|file.aof>\n\
         \x20                           check an append-only file; --fix cuts a torn end off\n\
         \n\
         Examples:\n\
         \x20 {program}\n\
         \x20 {program} /etc/redis/6379.conf --loglevel verbose\n\
         \x20 {program} --port 7777 --maxmemory 1gb --save \"\"\n\
         \x20 echo 'maxmemory 128mb' | {program} -\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> String {
        let args: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let Startup::Serve(sources) = parse_args(&args) else { panic!("{args:?} do not serve") };
        let stdin = if sources.stdin { "<stdin>" } else { "" };
        let file = sources.file.map(|file| format!("<{}>", file.escape_ascii()));
        let options = sources.options.expect("there are arguments");
        format!("{}{stdin}{}", file.unwrap_or_default(), String::from_utf8_lossy(&options))
    }

    #[test]
    fn options_become_lines() {
        let cases: &[(&[&str], &str)] = &[
            (&["--port", "7000", "--maxmemory", "1gb"], "port \"7000\" \nmaxmemory \"1gb\" "),
            (&["a.conf", "--save", "900", "1"], "<a.conf>save \"900\" \"1\" "),
            (&["--save", "900 1"], "save \"900 1\" "),
            (&["--save", ""], "save \"\" "),
            (&["--save"], "save \"\""),
            (&["--SAVE", "--port", "1"], "SAVE \"\"\nport \"1\" "),
            (&["--port 1", "--hz 2"], "port 1 \nhz 2 "),
            (&["--port=1"], "port=1 "),
            (&["--port"], "port "),
            (&["--requirepass", "--secret"], "requirepass \"--secret\" "),
            (&["--requirepass", "--a", "--b", "c"], "requirepass \"--a\" \nb \"c\" "),
            (&["--sentinel", "--port", "1"], "sentinel \nport \"1\" "),
            (&["-"], "<stdin>"),
            (&["-", "--port", "1"], "<stdin>port \"1\" "),
            (&["a.conf", "--port", "1", "-"], "<a.conf><stdin>port \"1\" "),
            (&["a.conf", "-", "--port", "1"], "<a.conf>\"-\" \nport \"1\" "),
            (&["--port", "1", "b.conf"], "port \"1\" \"b.conf\" "),
            (&["-x"], "\"-x\" "),
            (&["--\"open"], "\"open "),
            (&["--a\"open", "--port", "1"], "a\"open \nport \"1\" "),
            (&["--"], " "),
            (&["--", "--port", "1"], " \"--port\" \"1\" "),
        ];
        for (args, expected) in cases {
            assert_eq!(options(args), *expected, "{args:?}");
        }
    }

    #[test]
    fn special_arguments_count_only_in_front() {
        let startup = |args: &[&str]| {
            parse_args(&args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(startup(&[]), Startup::Serve(Sources::default()));
        assert_eq!(startup(&["-v"]), Startup::Version);
        assert_eq!(startup(&["--version", "x"]), Startup::Version);
        assert_eq!(startup(&["--help"]), Startup::Help);
        assert_eq!(startup(&["--check-system"]), Startup::CheckSystem);
        assert_eq!(startup(&["--test-memory"]), Startup::TestMemory(None));
        assert_eq!(startup(&["--test-memory", "64"]), Startup::TestMemory(Some(b"64".to_vec())));
        let check = |fixes, latest| AofCheck { path: b"a".to_vec(), fixes, latest };
        let cases: &[(&[&str], Option<AofCheck>)] = &[
            (&["a"], Some(check(false, None))),
            (&["--fix", "a"], Some(check(true, None))),
            (&["--truncate-to-timestamp", "17", "--fix", "a"], Some(check(true, Some(17)))),
            (&["--truncate-to-timestamp", "soon", "a"], None),
            (&["--mend", "a"], None),
            (&[], None),
        ];
        for (args, expected) in cases {
            let args = [&["--check-aof"], *args].concat();
            assert_eq!(startup(&args), Startup::CheckAof(expected.clone()), "{args:?}");
        }
        assert!(matches!(startup(&["a.conf", "--version"]), Startup::Serve(_)));
    }
}
