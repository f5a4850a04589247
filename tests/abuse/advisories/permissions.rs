//! Ways around what a user may do.

use super::super::with_servers;
use super::{guarded, must_be_unharmed, text, withstands};

#[test]
fn cve_2023_36824_keys_of_commands_that_name_none() {
    withstands(
        &[],
        &[
            (&["COMMAND", "GETKEYS", "EVAL", "x", "9999999999"], "*0"),
            (&["COMMAND", "GETKEYS", "ZUNIONSTORE", "d", "2147483647", "a"], "-ERR"),
            (&["COMMAND", "GETKEYS", "MIGRATE", "h", "1", "", "0", "1", "KEYS"], "*1"),
            (&["COMMAND", "GETKEYS", "XREAD", "STREAMS"], "-ERR"),
            (&["COMMAND", "GETKEYSANDFLAGS", "SORT", "k", "STORE"], ""),
            (&["ACL", "SETUSER", "u", "on", "~a", "+@all"], "+OK"),
            (&["ACL", "DRYRUN", "u", "MIGRATE", "h", "1", "", "0", "1", "KEYS"], ""),
            (&["ACL", "DRYRUN", "u", "ZUNION", "2147483647", "a"], ""),
        ],
    );
}

#[test]
fn cve_2023_41053_sort_reads_no_foreign_keys() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let user = ["ACL", "SETUSER", "u", "on", "nopass", "+@all", "%R~mine*"];
        assert_eq!(text(&mut client, &user), "+OK\r\n");
        assert_eq!(text(&mut client, &["AUTH", "u", "x"]), "+OK\r\n");
        for attack in [
            &["SORT_RO", "mine", "BY", "nosort", "GET", "guard"][..],
            &["SORT_RO", "mine", "BY", "gu*"],
            &["SORT_RO", "mine", "GET", "#", "GET", "gu*"],
            &["SORT", "mine", "STORE", "guard"],
            &["SORT_RO", "guard"],
        ] {
            let reply = text(&mut client, attack);
            assert!(
                reply.starts_with("-NOPERM")
                    || reply.starts_with("-ERR BY option")
                    || reply.starts_with("-ERR GET option"),
                "{attack:?}: {reply}"
            );
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2024_31227_and_51741_malformed_rules() {
    let rules = [
        "%~", "%R", "%", "%RW", "%W~a%", "(", "()", "(+get", "(%~)", "(~a) (", ")", "~", "&", "+",
        "-", "+|", "+get|", "db=",
    ];
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for rule in rules {
            text(&mut client, &["ACL", "SETUSER", "u", rule]);
            text(&mut client, &["ACL", "GETUSER", "u"]);
            text(&mut client, &["ACL", "LIST"]);
        }
        text(&mut client, &["ACL", "SETUSER", "u", "on", "nopass", "+@all", "%R~x"]);
        text(&mut client, &["ACL", "DRYRUN", "u", "GET", "x"]);
        must_be_unharmed(server);
    });
}

/// Valkey 9.1.2: the key that is written is the one that was asked for.
#[test]
fn georadius_with_two_places_to_store() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        assert_eq!(text(&mut client, &["GEOADD", "mine", "1", "1", "x"]), ":1\r\n");
        let user = ["ACL", "SETUSER", "u", "on", "nopass", "+@all", "~mine*"];
        assert_eq!(text(&mut client, &user), "+OK\r\n");
        assert_eq!(text(&mut client, &["AUTH", "u", "x"]), "+OK\r\n");
        for (first, second) in [("STORE", "STORE"), ("STORE", "STOREDIST"), ("STOREDIST", "STORE")]
        {
            for (one, other) in [("mine2", "guard"), ("guard", "mine2")] {
                let words = ["GEORADIUS", "mine", "1", "1", "9", "km", first, one, second, other];
                let reply = text(&mut client, &words);
                assert!(reply.starts_with('-'), "{words:?}: {reply}");
            }
        }
        must_be_unharmed(server);
    });
}

/// Valkey 9.1.2: whoever may not use a database takes nothing out of it either.
#[test]
fn keys_do_not_leave_a_database_by_move_or_copy() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let user = ["ACL", "SETUSER", "u", "on", "nopass", "+@all", "~*", "db=2"];
        assert_eq!(text(&mut client, &user), "+OK\r\n");
        assert_eq!(text(&mut client, &["AUTH", "u", "x"]), "+OK\r\n");
        for attack in [
            &["MOVE", "guard", "2"][..],
            &["COPY", "guard", "x", "DB", "2"],
            &["COPY", "guard", "x", "REPLACE", "DB", "2"],
            &["COPY", "guard", "x", "DB", "0", "DB", "2"],
            &["COPY", "guard", "x"],
            &["SWAPDB", "0", "2"],
            &["EVAL", "return redis.call('MOVE', KEYS[1], 2)", "1", "guard"],
        ] {
            let reply = text(&mut client, attack);
            assert!(reply.starts_with("-NOPERM"), "{attack:?}: {reply}");
        }
        must_be_unharmed(server);
    });
}
