//! The numbers of RDB: types of values and opcodes between them.
//! Invariant: what is on disks of others; nothing here ever changes. Source: RDB versions 1 to 12.

use super::VERSION_VALKEY;

/// A string.
pub const STRING: u8 = 0;
/// A list, element by element.
pub const LIST: u8 = 1;
/// A set, member by member.
pub const SET: u8 = 2;
/// A sorted set, scores as text.
pub const SORTED_SET: u8 = 3;
/// A hash, field by field.
pub const HASH: u8 = 4;
/// A sorted set, scores as doubles. Version 8.
pub const SORTED_SET_2: u8 = 5;
/// A small hash, until version 2.
pub const HASH_ZIPMAP: u8 = 9;
/// A small list, until version 6.
pub const LIST_ZIPLIST: u8 = 10;
/// A set of integers.
pub const SET_INTSET: u8 = 11;
/// A small sorted set, until version 9.
pub const SORTED_SET_ZIPLIST: u8 = 12;
/// A small hash, versions 4 to 9.
pub const HASH_ZIPLIST: u8 = 13;
/// A list of ziplists, versions 7 to 9.
pub const LIST_QUICKLIST: u8 = 14;
/// A stream. Version 9.
pub const STREAM: u8 = 15;
/// A small hash. Version 10.
pub const HASH_LISTPACK: u8 = 16;
/// A small sorted set. Version 10.
pub const SORTED_SET_LISTPACK: u8 = 17;
/// A list of listpacks and large elements. Version 10.
pub const LIST_QUICKLIST_2: u8 = 18;
/// A stream that counts what was added and deleted. Version 10.
pub const STREAM_2: u8 = 19;
/// A small set. Version 11.
pub const SET_LISTPACK: u8 = 20;
/// A stream that knows when consumers were active. Version 11.
pub const STREAM_3: u8 = 21;
/// A hash of fields that expire, as release candidates of Redis 7.4 wrote it.
pub const HASH_TTL_EARLY: u8 = 22;
/// A small hash of fields that expire, as release candidates of Redis 7.4 wrote it.
pub const HASH_LISTPACK_TTL_EARLY: u8 = 23;
/// A hash of fields that expire. Version 12.
pub const HASH_TTL: u8 = 24;
/// A small hash of fields that expire. Version 12.
pub const HASH_LISTPACK_TTL: u8 = 25;

/// A node of `LIST_QUICKLIST_2` that is one large element.
pub const NODE_PLAIN: u64 = 1;
/// A node of `LIST_QUICKLIST_2` that is a listpack.
pub const NODE_PACKED: u64 = 2;

/// The six low bits of a length that begins with `11`: what the string is written as.
pub const STRING_INT8: u8 = 0;
/// Sixteen bits.
pub const STRING_INT16: u8 = 1;
/// Thirty-two bits.
pub const STRING_INT32: u8 = 2;
/// Compressed.
pub const STRING_LZF: u8 = 3;

/// The first byte of a length of 32 bits.
pub const LENGTH_32: u8 = 0x80;
/// The first byte of a length of 64 bits.
pub const LENGTH_64: u8 = 0x81;
/// The two high bits of a string that is not written as its bytes.
pub const LENGTH_SPECIAL: u8 = 0xC0;

/// A value of a module, in either form; there are no modules here.
pub const MODULE: u8 = 6;
/// The same in the form that can be skipped.
pub const MODULE_2: u8 = 7;
/// A hash of fields that expire as Valkey writes it, which has number 22 in files of version 80.
pub const HASH_VALKEY: u8 = 150;

/// How far the import of a slot had come. Valkey 9.0.
pub const SLOT_IMPORT: u8 = 243;
/// How many keys a slot has: number, keys, keys that expire.
pub const SLOT_INFO: u8 = 244;
/// A library of functions: its text.
pub const FUNCTION2: u8 = 245;
/// The same in a form that only release candidates wrote.
pub const FUNCTION_EARLY: u8 = 246;
/// What a module wanted to keep.
pub const MODULE_AUX: u8 = 247;
/// Seconds since the next key was used.
pub const IDLE: u8 = 248;
/// How often the next key was used.
pub const FREQ: u8 = 249;
/// A fact about the file: name, value.
pub const AUX: u8 = 250;
/// How many keys the database has, and how many of them expire.
pub const RESIZEDB: u8 = 251;
/// When the next key expires, in milliseconds.
pub const EXPIRETIME_MS: u8 = 252;
/// When the next key expires, in seconds.
pub const EXPIRETIME: u8 = 253;
/// The database of the keys that follow.
pub const SELECTDB: u8 = 254;
/// The end; a checksum follows from version 5 on.
pub const EOF: u8 = 255;

/// What a type of value is written as, in words.
pub fn form(kind: u8) -> &'static str {
    match kind {
        STRING => "String",
        LIST => "List",
        SET => "Set",
        SORTED_SET | SORTED_SET_2 => "Zset",
        HASH | HASH_TTL | HASH_TTL_EARLY | HASH_VALKEY => "Hash",
        HASH_ZIPMAP => "Zipmap",
        LIST_ZIPLIST => "List ziplist",
        SET_INTSET => "Intset",
        SORTED_SET_ZIPLIST => "Zset ziplist",
        HASH_ZIPLIST => "Hash ziplist",
        LIST_QUICKLIST => "Quicklist ziplist",
        STREAM | STREAM_2 | STREAM_3 => "Stream listpack",
        HASH_LISTPACK => "Hash listpack",
        SORTED_SET_LISTPACK => "Zset listpack",
        LIST_QUICKLIST_2 => "Quicklist listpack",
        SET_LISTPACK => "Set listpack",
        HASH_LISTPACK_TTL | HASH_LISTPACK_TTL_EARLY => "Hash listpackex",
        _ => "Unknown value",
    }
}

/// True if a collection of this type is written as one string, which holds all of it and nothing else.
pub fn is_packed(kind: u8) -> bool {
    matches!(
        kind,
        HASH_ZIPMAP
            | LIST_ZIPLIST
            | SET_INTSET
            | SORTED_SET_ZIPLIST
            | HASH_ZIPLIST
            | HASH_LISTPACK
            | SORTED_SET_LISTPACK
            | SET_LISTPACK
    )
}

/// The type that a number means in a version.
pub fn kind_of(kind: u8, version: u32) -> u8 {
    match kind {
        HASH_TTL_EARLY if version >= u32::from(VERSION_VALKEY) => HASH_VALKEY,
        HASH_VALKEY => u8::MAX,
        kind => kind,
    }
}
