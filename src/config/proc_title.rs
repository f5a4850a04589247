//! `proc-title-template`: the text that `ps` shows, with variables in braces. `{{` is a brace.
//! Source: redis.conf of Redis 8.0.6.

/// Replaces the variables of `template` and cuts blanks off the ends. None if a brace is left open
/// or `variable` does not know a name.
pub fn expand(
    template: &[u8],
    mut variable: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
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
    fn variables_are_replaced() {
        let title = expand(b" {title} {{x} {port} ", |name| Some(name.to_ascii_uppercase()));
        assert_eq!(title.as_deref(), Some(&b"TITLE {x} PORT"[..]));
    }
}
