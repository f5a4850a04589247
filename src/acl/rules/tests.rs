//! Rules of ACL SETUSER against the behaviour of a stock server, over a small catalogue.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::acl::catalogue::Entry;

const STRING: u32 = 1;
const FAST: u32 = 2;
const SLOW: u32 = 4;
const ADMIN: u32 = 8;

const GET: usize = 0;
const SET: usize = 1;
const SELECT: usize = 2;
const CONFIG: usize = 3;
const DEBUG: usize = 4;
const CONFIG_GET: usize = 5;
const CONFIG_SET: usize = 6;
const DEBUG_PART: usize = 7;

/// A few commands of each kind: plain, a container, and one with parts that have no names.
pub(in crate::acl) fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let entry = |full_name, categories| Entry {
            full_name,
            categories,
            parts: 0..0,
            is_part: false,
            counts_as: None,
        };
        let part = |full_name, categories| Entry { is_part: true, ..entry(full_name, categories) };
        Catalogue::new(
            vec![
                entry("get", STRING | FAST),
                entry("set", STRING | SLOW),
                entry("select", FAST),
                Entry { parts: 5..7, ..entry("config", SLOW) },
                Entry { parts: 7..8, ..entry("debug", SLOW | ADMIN) },
                part("config|get", SLOW | ADMIN),
                part("config|set", SLOW | ADMIN),
                Entry { counts_as: Some(DEBUG as u16), ..part("debug", SLOW) },
            ],
            vec![(STRING, "string"), (FAST, "fast"), (SLOW, "slow"), (ADMIN, "admin")],
        )
    });
    &CATALOGUE
}

fn try_user(rules: &[&str]) -> Result<User, SetUserError> {
    let mut user = User::new(catalogue(), Defaults::default());
    let words: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
    apply_all(&mut user, &words, catalogue(), Defaults::default())?;
    Ok(user)
}

fn user(rules: &[&str]) -> User {
    try_user(rules).expect("good rules")
}

fn text(rules: &[&str]) -> String {
    String::from_utf8(user(rules).text()).expect("text")
}

/// The rule that is wrong, and why.
fn fault(rules: &[&str]) -> (String, RuleError) {
    match try_user(rules) {
        Err(SetUserError::Rule(rule, error)) => (String::from_utf8_lossy(&rule).into(), error),
        other => panic!("{rules:?} gave {other:?}"),
    }
}

fn allowed(rules: &[&str]) -> Vec<usize> {
    let user = user(rules);
    (0..catalogue().len()).filter(|one| user.selectors()[0].allows_command(*one, None)).collect()
}

#[test]
fn a_new_user_may_nothing() {
    assert_eq!(text(&[]), "off sanitize-payload resetchannels -@all");
    assert!(allowed(&[]).is_empty());
}

#[test]
fn flags_and_passwords() {
    assert_eq!(text(&["on", "nopass"]), "on nopass sanitize-payload resetchannels -@all");
    let hash = PasswordHash::of(b"x").digits();
    let expected = format!("off sanitize-payload #{hash} resetchannels -@all");
    assert_eq!(text(&["nopass", ">x", &format!("#{hash}")]), expected);
    assert_eq!(text(&[">x", ">y", "<y"]), expected);
    assert_eq!(
        text(&[">x", "ReSeTpAsS", "Skip-Sanitize-Payload"]),
        text(&["skip-sanitize-payload"])
    );
    assert_eq!(fault(&["<x"]), ("<x".into(), RuleError::NoSuchPassword));
    assert_eq!(fault(&["#abc"]), ("#abc".into(), RuleError::BadHash));
    assert_eq!(fault(&["!abc"]), ("!abc".into(), RuleError::BadHash));
    assert_eq!(text(&["on", ">x", "~*", "&*", "+@all", "(+get)", "reset"]), text(&[]));
}

#[test]
fn command_rules_keep_their_order_and_the_last_of_each_name() {
    let rules = |rules: &[&str]| {
        String::from_utf8(user(rules).selectors()[0].commands_text()).expect("text")
    };
    assert_eq!(rules(&["+get", "+@string", "-get", "+GET"]), "-@all +@string +get");
    assert_eq!(rules(&["+config|get", "+config|set", "-config"]), "-@all -config");
    assert_eq!(rules(&["+config", "-config|set"]), "-@all +config -config|set");
    assert_eq!(rules(&["+@all", "-@ADMIN", "+debug"]), "+@all -@admin +debug");
    assert_eq!(rules(&["+get", "allcommands"]), "+@all");
    assert_eq!(rules(&["+@all", "-get", "nocommands", "+set"]), "-@all +set");
    assert_eq!(rules(&["+select|0", "+SELECT|A", "+select|0"]), "-@all +select|a +select|0");
}

#[test]
fn bits_follow_the_rules() {
    assert_eq!(allowed(&["+@string"]), [GET, SET]);
    assert_eq!(allowed(&["+@all", "-config"]), [GET, SET, SELECT, DEBUG, DEBUG_PART]);
    assert_eq!(allowed(&["+config|get"]), [CONFIG_GET]);
    assert_eq!(allowed(&["+config", "-config|set"]), [CONFIG, CONFIG_GET]);
    assert_eq!(allowed(&["+debug"]), [DEBUG, DEBUG_PART]);
    // A category that the container is in takes its parts with it.
    assert_eq!(allowed(&["+@slow"]), [SET, CONFIG, DEBUG, CONFIG_GET, CONFIG_SET, DEBUG_PART]);
}

#[test]
fn first_arguments_open_a_command_that_is_shut() {
    let user = user(&["+select|0", "+debug|Object"]);
    let root = &user.selectors()[0];
    assert!(root.allows_command(SELECT, Some(b"0")));
    assert!(!root.allows_command(SELECT, Some(b"1")));
    assert!(!root.allows_command(SELECT, None));
    assert!(root.allows_command(DEBUG, Some(b"OBJECT")));
    for (rule, error) in [
        ("+nope|0", RuleError::UnknownCommand),
        ("+config|nope", RuleError::UnknownCommand),
        ("+config|get|x", RuleError::FirstArgOfPart),
        ("-select|0", RuleError::UnknownCommand),
        ("+select|", RuleError::Syntax),
        ("+select|a b", RuleError::Syntax),
        ("+nope", RuleError::UnknownCommand),
        ("+@nope", RuleError::UnknownCommand),
        ("-nope", RuleError::UnknownCommand),
        ("nope", RuleError::Syntax),
    ] {
        assert_eq!(fault(&[rule]), (rule.into(), error));
    }
}

#[test]
fn keys_channels_and_databases() {
    let scope = |rules: &[&str]| text(rules).replace("off sanitize-payload ", "");
    assert_eq!(scope(&["~a", "%R~b", "%w~b", "%WR~c", "~a"]), "~a ~b ~c resetchannels -@all");
    assert_eq!(scope(&["%R~b", "%W~c"]), "%R~b %W~c resetchannels -@all");
    assert_eq!(scope(&["%R"]), "%R~ resetchannels -@all");
    assert_eq!(scope(&["~a", "allkeys"]), "~* resetchannels -@all");
    assert_eq!(scope(&["&a", "&b", "&a"]), "resetchannels &a &b -@all");
    assert_eq!(scope(&["&a", "&*"]), "&* -@all");
    assert_eq!(scope(&["db=3,1,3"]), "resetchannels db=1,3 -@all");
    assert_eq!(scope(&["db=1", "resetdbs"]), "resetchannels resetdbs -@all");
    assert_eq!(scope(&["resetdbs", "alldbs"]), "resetchannels -@all");
    for (rules, error) in [
        (&["~*", "~a"][..], RuleError::KeysAfterAll),
        (&["&*", "&a"], RuleError::ChannelsAfterAll),
        (&["%~a"], RuleError::Syntax),
        (&["%RR~a"], RuleError::Syntax),
        (&["%X~a"], RuleError::Syntax),
        (&["~a b"], RuleError::Syntax),
        (&["&a\tb"], RuleError::Syntax),
        (&["db="], RuleError::Syntax),
        (&["db=1,"], RuleError::Syntax),
        (&["db=x"], RuleError::Syntax),
        (&["db=-1"], RuleError::DatabaseOutOfRange),
        (&["db=2147483648"], RuleError::DatabaseOutOfRange),
        (&["db=99999999999999999999"], RuleError::DatabaseOutOfRange),
    ] {
        assert_eq!(fault(rules).1, error, "{rules:?}");
    }
}

#[test]
fn selectors_may_come_in_pieces() {
    let whole = text(&["(+get ~a*)", "(%R~b)"]);
    assert_eq!(
        whole,
        "off sanitize-payload resetchannels -@all (~a* resetchannels -@all +get) \
         (%R~b resetchannels -@all)"
    );
    assert_eq!(text(&["(+get", "~a*)", "(%R~b", ")"]), whole);
    assert_eq!(text(&["(+get ~a*)", "clearselectors"]), text(&[]));
    assert_eq!(fault(&["(on)"]), ("(on)".into(), RuleError::Syntax));
    let unmatched = try_user(&["+get", "(~a", "~b"]).expect_err("open");
    assert_eq!(
        unmatched.text(),
        b"Unmatched parenthesis in acl selector starting at '(~a'.".to_vec()
    );
}

fn rule() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "on",
            "off",
            "nopass",
            "resetpass",
            "skip-sanitize-payload",
            "sanitize-payload",
            "reset",
            "clearselectors",
            ">p",
            ">q",
            "(+get ~a*)",
            "(%R~b &c* db=2 +@slow -config|set)",
        ])
        .prop_map(str::to_owned),
        selector_rule(),
        prop::collection::vec(selector_rule(), 0..4)
            .prop_map(|rules| format!("({})", rules.join(" "))),
    ]
}

fn selector_rule() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "allkeys",
            "resetkeys",
            "allchannels",
            "resetchannels",
            "+@all",
            "-@all",
            "alldbs",
            "resetdbs",
            "db=0",
            "db=3,1",
            "+get",
            "-get",
            "+set",
            "-set",
            "+config",
            "-config",
            "+config|get",
            "-config|get",
            "-config|set",
            "+select|0",
            "+select|1",
            "-select",
            "+debug|object",
            "-debug",
            "+debug",
        ])
        .prop_map(str::to_owned),
        "[~&]|%R~|%W~|%RW~"
            .prop_flat_map(|head| "[a-c*?]{0,3}".prop_map(move |tail| format!("{head}{tail}"))),
        "[+-]@(string|fast|slow|admin)",
    ]
}

proptest! {
    #[test]
    fn the_text_of_a_user_makes_the_same_user(rules in prop::collection::vec(rule(), 0..20)) {
        let mut made = User::new(catalogue(), Defaults::default());
        for rule in &rules {
            // A rule that is refused changes nothing.
            let before = made.clone();
            if apply(&mut made, rule.as_bytes(), catalogue(), Defaults::default()).is_err() {
                prop_assert_eq!(&made, &before);
            }
        }
        let text = made.text();
        let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
        let mut read = User::new(catalogue(), Defaults::default());
        apply_all(&mut read, &words, catalogue(), Defaults::default()).expect("rules of our own");
        prop_assert_eq!(read.text().escape_ascii().to_string(), text.escape_ascii().to_string());
        for (read, made) in read.selectors().iter().zip(made.selectors()) {
            for number in 0..catalogue().len() {
                for arg in [None, Some(&b"0"[..]), Some(b"object")] {
                    prop_assert_eq!(read.allows_command(number, arg), made.allows_command(number, arg));
                }
            }
        }
    }

    #[test]
    fn no_word_is_too_odd(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..5)) {
        let mut user = User::new(catalogue(), Defaults::default());
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let _ = apply_all(&mut user, &words, catalogue(), Defaults::default());
        let _ = user.text();
    }
}
