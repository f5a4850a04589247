//! `proc-title-template`: the text that `ps` shows, with variables in braces. `{{` is a brace.
//! Source: redis.conf of Redis 8.0.6.

use super::settings::Config;

/// The title of a process that was started as `program` with the configuration file `file`.
pub fn proc_title(config: &Config, program: &[u8], file: Option<&[u8]>) -> Vec<u8> {
    let title = expand(&config.proc_title_template, |name| match name {
        b"title" => Some(program.into()),
        b"listen-addr" => Some(listen_addr(config)),
        b"server-mode" => Some(if config.cluster_enabled { "[cluster]" } else { "" }.into()),
        b"config-file" => Some(file.unwrap_or(b"-").into()),
        b"port" => Some(config.port.to_string().into()),
        b"tls-port" => Some(config.tls_port.to_string().into()),
        b"unixsocket" => Some(config.unixsocket.clone()),
        _ => None,
    });
    title.expect("a template was checked when it was set")
}

fn listen_addr(config: &Config) -> Vec<u8> {
    let port = if config.port == 0 { config.tls_port } else { config.port };
    if port == 0 {
        return [b"unixsocket:", config.unixsocket.as_slice()].concat();
    }
    let address = config.bind.first().map_or(&b"*"[..], Vec::as_slice);
    [address, format!(":{port}").as_bytes()].concat()
}

/// Replaces the variables of `template` and cuts blanks off the ends. None if a brace is left open
/// or `variable` does not know a name.
fn expand(template: &[u8], mut variable: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut title = Vec::new();
    let mut rest = template;
    while let Some(brace) = memchr::memchr(b'{', rest) {
        title.extend(&rest[..brace]);
        rest = &rest[brace + 1..];
        if let Some(after) = rest.strip_prefix(b"{") {
            title.push(b'{');
            rest = after;
            continue;
        }
        let end = memchr::memchr(b'}', rest)?;
        title.extend(variable(&rest[..end])?);
        rest = &rest[end + 1..];
    }
    title.extend(rest);
    let blank = |byte: &u8| *byte == b' ';
    let start = title.iter().take_while(|byte| blank(byte)).count();
    title.drain(..start);
    title.truncate(title.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1));
    Some(title)
}

/// Whether every variable is known and the title cannot be empty, as when `{title}` itself is.
pub(super) fn is_valid(template: &[u8]) -> bool {
    let title = expand(template, |name| match name {
        b"title" | b"server-mode" | b"unixsocket" => Some(Vec::new()),
        b"listen-addr" | b"config-file" | b"port" | b"tls-port" => Some(b"-".to_vec()),
        _ => None,
    });
    title.is_some_and(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::set::SetContext;

    #[test]
    fn templates_are_accepted_as_in_redis() {
        let cases = [
            ("{title} {listen-addr} {server-mode}", true),
            ("plain", true),
            ("{{", true),
            ("{port}", true),
            ("", false),
            ("  ", false),
            ("{title}", false),
            ("{nope}", false),
            ("a {", false),
            ("a {port", false),
        ];
        for (template, valid) in cases {
            assert_eq!(is_valid(template.as_bytes()), valid, "{template}");
        }
    }

    #[test]
    fn the_title_is_that_of_redis() {
        let title = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            let config = Config::default().set(&pairs, SetContext::default());
            let title = proc_title(&config.expect("valid"), b"ironring", Some(b"/a.conf"));
            String::from_utf8(title).expect("ASCII")
        };
        assert_eq!(title(&[]), "ironring *:6379");
        assert_eq!(title(&[("bind", "::1 127.0.0.1"), ("port", "7")]), "ironring ::1:7");
        assert_eq!(title(&[("port", "0")]), "ironring unixsocket:");
        let template = "{config-file} {port} {tls-port}{unixsocket} ";
        assert_eq!(title(&[("proc-title-template", template)]), "/a.conf 6379 0");
    }

    #[test]
    fn variables_are_replaced() {
        let title = expand(b" {title} {{x} {port} ", |name| Some(name.to_ascii_uppercase()));
        assert_eq!(title.as_deref(), Some(&b"TITLE {x} PORT"[..]));
    }
}
