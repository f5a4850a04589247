//! The first line of a script that says what it needs: `#!lua flags=no-writes,allow-stale`.
//! Source: "Eval scripts", script flags; the errors of stock servers.

use crate::base::words;

/// What a script declares of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags(u8);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl ScriptFlags {
            $($(#[$doc])* pub const $name: ScriptFlags = ScriptFlags(1 << $bit);)*
            /// Every flag that a script can declare, with its name.
            pub const NAMES: &'static [(ScriptFlags, &'static str)] =
                &[$((ScriptFlags::$name, $text)),*];
        }
    };
}

flags! {
    /// It writes nothing.
    NO_WRITES = 0, "no-writes";
    /// It runs, and writes, when memory is at its limit.
    ALLOW_OOM = 1, "allow-oom";
    /// It runs on a replica that has lost its primary.
    ALLOW_STALE = 2, "allow-stale";
    /// It does not run in a cluster.
    NO_CLUSTER = 3, "no-cluster";
    /// Its keys may be in several slots.
    ALLOW_CROSS_SLOT = 4, "allow-cross-slot-keys";
}

impl ScriptFlags {
    /// It declares nothing: a script of old, which may do everything.
    pub const COMPATIBLE: ScriptFlags = ScriptFlags(1 << 7);

    /// True if all of `other` are set.
    pub const fn has(self, other: ScriptFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: ScriptFlags) -> ScriptFlags {
        ScriptFlags(self.0 | other.0)
    }

    /// The flag of this name.
    pub fn named(name: &[u8]) -> Option<ScriptFlags> {
        let found = Self::NAMES.iter().find(|(_, text)| text.as_bytes() == name);
        found.map(|(flag, _)| *flag)
    }
}

/// What a first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// The flags.
    pub flags: ScriptFlags,
    /// Bytes of the line, without its end: what is in front of the code.
    pub len: usize,
}

/// Reads the first line of a script. An error is the text of the reply, its code first.
pub fn parse(body: &[u8]) -> Result<Shebang, Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok(Shebang { flags: ScriptFlags::COMPATIBLE, len: 0 });
    }
    let Some(len) = memchr::memchr(b'\n', body) else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let parts = words::split_args(&body[..len]).filter(|parts| !parts.is_empty());
    let parts = parts.ok_or_else(|| b"ERR Invalid engine in script shebang".to_vec())?;
    if *parts[0] != *b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", &parts[0][..]].concat());
    }
    let mut flags = ScriptFlags::default();
    for part in &parts[1..] {
        let Some(names) = part.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", &part[..]].concat());
        };
        for name in names.split(|byte| *byte == b',').filter(|_| !names.is_empty()) {
            let Some(flag) = ScriptFlags::named(name) else {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            };
            flags = flags.with(flag);
        }
    }
    Ok(Shebang { flags, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        assert_eq!(parse(b"return 1").map(|one| one.flags), Ok(ScriptFlags::COMPATIBLE));
        assert_eq!(
            parse(b"#!lua\nreturn 1").map(|one| (one.flags, one.len)),
            Ok((ScriptFlags(0), 5))
        );
        let both = parse(b"#!lua flags=no-writes,allow-oom\n").map(|one| one.flags);
        assert_eq!(both, Ok(ScriptFlags::NO_WRITES.with(ScriptFlags::ALLOW_OOM)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, error) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!perl\n", "ERR Unexpected engine in script shebang: #!perl"),
            ("#!lua a=b\n", "ERR Unknown lua shebang option: a=b"),
            ("#!lua flags=x\n", "ERR Unexpected flag in script shebang: x"),
        ] {
            assert_eq!(parse(body.as_bytes()), Err(error.as_bytes().to_vec()), "{body}");
        }
    }
}
