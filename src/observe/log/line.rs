//! How a line of the log is written.
//!
//! Invariant: one message is one line, whatever it contains, but in the legacy form, where lines of a
//! message stay what they are. Forms and names are those of Valkey 9.1.

use std::fmt::Write;

use super::{Form, Level, Stamp};

/// What a line says.
pub struct Line<'a> {
    /// Of the process.
    pub pid: u32,
    /// It is a replica.
    pub follows: bool,
    /// When, in milliseconds since 1970.
    pub millis: i64,
    /// Seconds that local time is ahead of UTC.
    pub utc_offset: i64,
    /// How important it is.
    pub level: Level,
    /// What happened.
    pub message: &'a str,
}

impl Line<'_> {
    /// The line, with its end.
    pub fn write(&self, form: Form, stamp: Stamp) -> String {
        let Line { pid, level, message, .. } = self;
        let (stamp, name) = (self.stamp(stamp), level.name());
        let (mark, role) = if self.follows { ('S', "replica") } else { ('M', "primary") };
        let mut line = String::with_capacity(message.len() + 64);
        let written = match form {
            Form::Legacy => writeln!(line, "{pid}:{mark} {stamp} {} {message}", level.mark()),
            Form::Logfmt => {
                let message = message.replace('"', "'").replace(['\n', '\r'], " ");
                writeln!(
                    line,
                    "pid={pid} role={role} timestamp=\"{stamp}\" level={name} message=\"{message}\""
                )
            }
            Form::Json => writeln!(
                line,
                "{{\"pid\":{pid},\"role\":\"{role}\",\"timestamp\":\"{stamp}\",\"level\":\"{name}\",\"message\":{}}}",
                json_string(message)
            ),
        };
        written.expect("a String takes all");
        line
    }

    fn stamp(&self, stamp: Stamp) -> String {
        if stamp == Stamp::Milliseconds {
            return self.millis.to_string();
        }
        let millis = self.millis.rem_euclid(1000);
        let local = self.millis.div_euclid(1000) + self.utc_offset;
        let (year, month, day) = civil_date(local.div_euclid(SECONDS_PER_DAY));
        let of_day = local.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let time = format!("{hour:02}:{minute:02}:{second:02}.{millis:03}");
        if stamp == Stamp::Legacy {
            return format!("{day:02} {} {year} {time}", MONTHS[month]);
        }
        let (sign, ahead) = if self.utc_offset < 0 { ('-', -1) } else { ('+', 1) };
        let minutes = self.utc_offset * ahead / 60;
        let month = month + 1;
        format!("{year:04}-{month:02}-{day:02}T{time}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A string of JSON. Source: RFC 8259, section 7.
fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '\\' | '"' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\0'..='\x1f' => {
                write!(quoted, "\\u{:04x}", letter as u32).expect("a String takes all");
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Year, month (0 to 11) and day of a day since 1970-01-01, by counting eras of 400 years that begin
/// in March.
fn civil_date(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    (year, month as usize, day)
}

const SECONDS_PER_DAY: i64 = 86_400;

/// Months as the legacy form writes them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil_date(0), (1970, 0, 1));
        assert_eq!(civil_date(11_016), (2000, 1, 29));
        assert_eq!(civil_date(20_779), (2026, 10, 22));
    }

    #[test]
    fn a_line_in_each_form() {
        let line = Line {
            follows: false,
            pid: 7,
            millis: 1_795_357_385_123,
            utc_offset: 19_800,
            level: Level::Notice,
            message: "say \"hi\"\n\x01\\",
        };
        assert_eq!(
            line.write(Form::Legacy, Stamp::Legacy),
            "7:M 22 Nov 2026 19:53:05.123 * say \"hi\"\n\x01\\\n"
        );
        assert_eq!(
            line.write(Form::Logfmt, Stamp::Iso8601),
            "pid=7 role=primary timestamp=\"2026-11-22T19:53:05.123+05:30\" level=notice message=\"say 'hi' \x01\\\"\n"
        );
        assert_eq!(
            line.write(Form::Json, Stamp::Milliseconds),
            "{\"pid\":7,\"role\":\"primary\",\"timestamp\":\"1795357385123\",\"level\":\"notice\",\"message\":\"say \\\"hi\\\"\\n\\u0001\\\\\"}\n"
        );
        let west = Line { utc_offset: -9 * 3600, ..line };
        assert!(west.write(Form::Logfmt, Stamp::Iso8601).contains("T05:23:05.123-09:00"));
    }
}
