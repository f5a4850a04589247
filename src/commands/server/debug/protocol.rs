//! DEBUG PROTOCOL: one value of each type of RESP.
//!
//! Invariant: in RESP2 a type that it lacks is what `resp/reply.rs` makes of it, or an error.

use crate::resp::Proto;
use crate::resp::reply::Reply;

const BIG_NUMBER: &[u8] = b"1234567999999999999999999999999999999";

pub(super) fn protocol(kind: &[u8], reply: &mut Reply<'_>) {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double(b"3.141"),
        b"bignum" => match reply.proto() {
            Proto::Resp2 => reply.bulk(BIG_NUMBER),
            Proto::Resp3 => reply.raw(&[b"(", BIG_NUMBER, b"\r\n"].concat()),
        },
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.proto() == Proto::Resp3 {
                reply.raw(b"|1\r\n");
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            // An attribute is no reply.
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if reply.proto() == Proto::Resp2 => {
            reply.error("ERR RESP2 is not supported by this command");
        }
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            // Nor is a push.
            reply.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => reply.error(
            "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ),
    }
}
