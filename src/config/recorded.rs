//! What stock Redis was seen to do, as the tests read it. Recorded by tests/data/record_config.py,
//! with bytes as Latin-1.

use serde_json::Value as Json;

/// One part of the recording: `set`, `load` or `rewrite`.
pub(super) fn part(name: &str) -> Vec<Json> {
    let recorded = include_str!("../../tests/data/config-redis-8.0.6.json");
    let recorded: Json = serde_json::from_str(recorded).expect("the recording is JSON");
    recorded[name].as_array().expect("a part is a list").clone()
}

/// The bytes of a string.
pub(super) fn bytes(text: &Json) -> Vec<u8> {
    let text = text.as_str().expect("a string");
    text.chars().map(|char| u8::try_from(char).expect("a Latin-1 character")).collect()
}

/// The strings of a list.
pub(super) fn list(list: &Json) -> Vec<Vec<u8>> {
    list.as_array().expect("a list").iter().map(bytes).collect()
}

/// The entries of an object.
pub(super) fn entries(object: &Json) -> Vec<(Vec<u8>, Vec<u8>)> {
    let object = object.as_object().expect("an object");
    object.iter().map(|(name, value)| (bytes(&Json::from(name.as_str())), bytes(value))).collect()
}
