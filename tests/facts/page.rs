//! The page of all commands, from their records.

use std::collections::BTreeMap;
use std::fmt::Write;

use ironring::command::{Argument, ArgumentKind, Command, Group};

const HEAD: &str = "# Commands

What Ironring answers, by group. Made from the command records by `tests/facts` (`WRITE=1 cargo test
--test facts`); do not edit. What a stock server has and Ironring has not is listed in
`tests/facts/missing.txt`.
";

/// The page: a table for each group, the commands in the order of their names.
pub(crate) fn render(records: &BTreeMap<String, &'static Command>) -> String {
    let mut groups: BTreeMap<Group, Vec<(&String, &Command)>> = BTreeMap::new();
    for (name, record) in records {
        groups.entry(record.group).or_default().push((name, record));
    }
    let mut page = HEAD.to_owned();
    for (group, commands) in groups {
        let _ = write!(page, "\n## {}\n\n", group.name());
        page.push_str("| command | since | what it does | complexity |\n|---|---|---|---|\n");
        for (name, record) in commands {
            let mut form = name.clone();
            record.arguments.iter().for_each(|one| write_argument(&mut form, one));
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                cell(&form),
                record.since,
                cell(record.summary),
                cell(record.complexity)
            );
        }
    }
    page
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// One argument as manuals print it: `[EX seconds]`, `key [key ...]`, `NX|XX`. Records nest a few
/// levels deep.
fn write_argument(form: &mut String, argument: &Argument) {
    let mut inner = String::new();
    match argument.kind {
        ArgumentKind::PureToken => {}
        ArgumentKind::OneOf => {
            let choices: Vec<String> = argument.arguments.iter().map(alone).collect();
            let _ = if argument.optional || argument.token.is_none() {
                write!(inner, "{}", choices.join("|"))
            } else {
                write!(inner, "<{}>", choices.join("|"))
            };
        }
        ArgumentKind::Block => {
            inner = argument.arguments.iter().map(alone).collect::<Vec<_>>().join(" ");
        }
        _ => inner.push_str(argument.display.unwrap_or(argument.name)),
    }
    let mut words: Vec<&str> = argument.token.into_iter().filter(|word| !word.is_empty()).collect();
    if !inner.is_empty() {
        words.push(&inner);
    }
    let once = words.join(" ");
    let repeated = match (argument.multiple, argument.multiple_token) {
        (true, true) => format!("{once} [{once} ...]"),
        (true, false) => format!("{once} [{inner} ...]"),
        (false, _) => once,
    };
    let _ =
        if argument.optional { write!(form, " [{repeated}]") } else { write!(form, " {repeated}") };
}

fn alone(argument: &Argument) -> String {
    let mut form = String::new();
    write_argument(&mut form, argument);
    form.trim_start().to_owned()
}
