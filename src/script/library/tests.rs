//! Libraries come and go: what is read of them, what collides, what is ended.

use super::*;

const LIMITS: Limits = Limits { memory_bytes: 64 << 20 };

fn prepare(functions: &mut Functions, text: &str) -> Result<Arc<Library>, String> {
    let line = |text: Vec<u8>| String::from_utf8_lossy(&text).into_owned();
    let heading = heading(text.as_bytes()).map_err(line)?;
    functions.prepare(text.as_bytes(), heading, |_| Reach::Everything).map(Arc::new).map_err(line)
}

fn load(functions: &mut Functions, text: &str, replace: bool) -> Result<(), String> {
    let library = prepare(functions, text)?;
    functions
        .apply(&Change::Load { library, replace })
        .map_err(|text| String::from_utf8_lossy(&text).into_owned())
}

fn library(name: &str, names: &[&str]) -> String {
    let functions =
        names.iter().map(|name| format!("redis.register_function('{name}', function() end) "));
    format!("#!lua name={name}\n{}", functions.collect::<String>())
}

#[test]
fn first_lines_are_read() {
    let read = |text: &str| match heading(text.as_bytes()) {
        Ok(Heading { name, len }) => format!("{} {len}", String::from_utf8_lossy(&name)),
        Err(error) => String::from_utf8_lossy(&error).into_owned(),
    };
    for (text, expected) in [
        ("#!lua name=a\n", "a 12"),
        ("#!LUA NAME=a_1 \ncode", "a_1 15"),
        ("#!lua \"name=a\"\n", "a 14"),
        ("", "ERR Missing library metadata"),
        ("#!lua name=a", "ERR Invalid library metadata"),
        ("#!lua name=\"a\n", "ERR Invalid library metadata"),
        ("#!lua\n", "ERR Library name was not given"),
        ("#!lua x\n", "ERR Invalid metadata value given: x"),
        ("#!lua flags=a\n", "ERR Invalid metadata value given: flags=a"),
        (
            "#!lua name=a name=b\n",
            "ERR Invalid metadata value, name argument was given multiple times",
        ),
        ("#!perl name=a\n", "ERR Engine 'perl' not found"),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn a_library_may_have_names_that_differ_in_case() {
    let mut functions = Functions::new(LIMITS);
    load(&mut functions, &library("one", &["f", "F"]), false).unwrap();
    let error = load(&mut functions, &library("two", &["g", "g"]), false).unwrap_err();
    assert!(error.ends_with("Function already exists in the library"), "{error}");
    let error = load(&mut functions, &library("two", &["F"]), false).unwrap_err();
    assert_eq!(error, "ERR Function F already exists");
    functions.apply(&Change::Delete(b"one".to_vec())).unwrap();
    assert!(functions.is_empty());
}

#[test]
fn a_change_is_applied_whole_or_not_at_all() {
    let mut functions = Functions::new(LIMITS);
    load(&mut functions, &library("one", &["a", "b"]), false).unwrap();
    let error = load(&mut functions, &library("one", &["c"]), false).unwrap_err();
    assert_eq!(error, "ERR Library 'one' already exists");
    let error = load(&mut functions, &library("two", &["c", "B"]), false).unwrap_err();
    assert_eq!(error, "ERR Function B already exists");
    assert_eq!(functions.len(), 2);
    load(&mut functions, &library("one", &["b", "c"]), true).unwrap();
    assert!(functions.find(b"a").is_none() && functions.find(b"C").is_some());
    assert!(functions.apply(&Change::Delete(b"two".to_vec())).is_err());
    functions.apply(&Change::Delete(b"one".to_vec())).unwrap();
    assert!(functions.is_empty() && functions.all().len() == 0);
}

#[test]
fn a_restored_dump_obeys_its_policy() {
    let mut functions = Functions::new(LIMITS);
    load(&mut functions, &library("one", &["a"]), false).unwrap();
    load(&mut functions, &library("two", &["b"]), false).unwrap();
    let again = prepare(&mut functions, &library("one", &["a", "c"])).unwrap();
    let stolen = prepare(&mut functions, &library("three", &["b"])).unwrap();
    let mut restore = |libraries: &[&Arc<Library>], policy| {
        let libraries = libraries.iter().map(|one| Arc::clone(one)).collect();
        let outcome = functions.apply(&Change::Restore { libraries, policy });
        (outcome.map_err(|text| String::from_utf8_lossy(&text).into_owned()), functions.len())
    };
    let exists = |text: &str| Err(text.to_owned());
    assert_eq!(restore(&[&again], Policy::Append), (exists("ERR Library one already exists"), 2));
    assert_eq!(restore(&[&stolen], Policy::Replace), (exists("ERR Function b already exists"), 2));
    assert_eq!(restore(&[&again], Policy::Replace), (Ok(()), 3));
    assert_eq!(restore(&[&stolen], Policy::Flush), (Ok(()), 1));
    let mut together = Together::default();
    assert_eq!(together.add(again.clone()), Ok(()));
    let same_name = Heading { name: b"one".to_vec(), len: 0 };
    assert_eq!(
        together.has_room_for(&same_name),
        Err(b"ERR Library 'one' already exists".to_vec())
    );
    let same_function = prepare(&mut functions, &library("four", &["c"])).unwrap();
    assert_eq!(together.add(same_function), Err(b"ERR Function c already exists".to_vec()));
}

#[test]
fn a_library_that_does_not_end_is_ended() {
    let mut functions = Functions::new(LIMITS);
    let error = prepare(&mut functions, "#!lua name=a\nwhile true do end").unwrap_err();
    assert_eq!(error, "ERR Error registering functions: ERR FUNCTION LOAD timeout");
    let text = "#!lua name=a\nlocal t = {} for i = 1, 1e9 do t[i] = {} end";
    let error = prepare(&mut functions, text).unwrap_err();
    assert!(error.starts_with("ERR Error registering functions: "), "{error}");
    load(&mut functions, &library("one", &["a"]), false).unwrap();
}
