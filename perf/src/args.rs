//! Command lines: each subcommand declares its options once, and parsing and usage derive from it.
//! Invariant: an option that was not declared is an error, never ignored.

use std::str::FromStr;

use crate::Result;

/// One `--name VALUE` option; a flag if it has no default.
pub(crate) struct Opt {
    /// Without the dashes.
    pub(crate) name: &'static str,
    /// What it is when not given; none for a flag.
    pub(crate) default: Option<&'static str>,
    /// One line for the usage text.
    pub(crate) help: &'static str,
}

/// A parsed command line.
pub(crate) struct Args {
    declared: &'static [Opt],
    given: Vec<(&'static str, String)>,
    /// What is not an option, in order.
    pub(crate) rest: Vec<String>,
}

impl Args {
    /// Parses `--name VALUE`, `--name=VALUE`, `--flag` and plain words, in any order.
    pub(crate) fn parse(
        words: impl IntoIterator<Item = String>,
        declared: &'static [Opt],
    ) -> Result<Args> {
        let mut args = Args { declared, given: Vec::new(), rest: Vec::new() };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--") else {
                args.rest.push(word);
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let Some(opt) = declared.iter().find(|opt| opt.name == name) else {
                return Err(format!("unknown option --{name}").into());
            };
            let value = match (opt.default, inline) {
                (None, None) => String::new(),
                (None, Some(_)) => return Err(format!("--{name} takes no value").into()),
                (Some(_), Some(value)) => value,
                (Some(_), None) => words.next().ok_or(format!("--{name} needs a value"))?,
            };
            args.given.push((opt.name, value));
        }
        Ok(args)
    }

    /// Whether a flag was given.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// Every value given for an option, in order; its default if there is none.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let given = self.given.iter().filter(|(given, _)| *given == name);
        let texts: Vec<String> = given.map(|(_, value)| value.clone()).collect();
        if !texts.is_empty() {
            return texts;
        }
        let opt = self.declared.iter().find(|opt| opt.name == name);
        let default = opt.and_then(|opt| opt.default).expect("options are asked for as declared");
        if default.is_empty() { Vec::new() } else { vec![default.to_owned()] }
    }

    /// The last value given for an option, or its default; empty if that is empty.
    pub(crate) fn text(&self, name: &str) -> String {
        self.texts(name).pop().unwrap_or_default()
    }

    /// The same, as a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name).replace('_', "");
        text.parse().map_err(|_| format!("--{name}: {text:?} is not a number it takes").into())
    }

    /// The same, as numbers with commas between them.
    pub(crate) fn numbers<T: FromStr>(&self, name: &str) -> Result<Vec<T>> {
        let text = self.text(name);
        let numbers: std::result::Result<_, _> = text.split(',').map(str::parse).collect();
        numbers.map_err(|_| format!("--{name}: {text:?} is not a list of numbers").into())
    }
}

/// The usage lines of these options.
pub(crate) fn usage(options: &[Opt]) -> String {
    let mut text = String::new();
    for opt in options {
        let left = match opt.default {
            None => format!("--{}", opt.name),
            Some("") => format!("--{} VALUE", opt.name),
            Some(default) => format!("--{} {default}", opt.name),
        };
        text += &format!("    {left:28} {}\n", opt.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[Opt] = &[
        Opt { name: "rounds", default: Some("20"), help: "" },
        Opt { name: "scenario", default: Some(""), help: "" },
        Opt { name: "verify", default: None, help: "" },
    ];

    fn parse(line: &str) -> Result<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned), OPTIONS)
    }

    #[test]
    fn options_and_words_mix() {
        let args = parse("--rounds=3 a=b --scenario x --verify --scenario y c").unwrap();
        assert_eq!(args.number::<u32>("rounds").unwrap(), 3);
        assert_eq!(args.texts("scenario"), ["x", "y"]);
        assert_eq!(args.rest, ["a=b", "c"]);
        assert!(args.flag("verify") && !parse("").unwrap().flag("verify"));
        assert_eq!(parse("").unwrap().number::<u32>("rounds").unwrap(), 20);
    }

    #[test]
    fn what_is_not_declared_is_an_error() {
        for line in ["--round 3", "--rounds", "--verify=1"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--rounds x").unwrap().number::<u32>("rounds").is_err());
    }
}
