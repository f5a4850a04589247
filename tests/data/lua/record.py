"""Records what a stock server's Lua libraries answer to generated calls.

    python3 tests/data/lua/record.py HOST:PORT FOLDER [SEED [COUNT]]

writes FOLDER/<library>.tsv: a call of Lua, a tab, what it returns or raises. The unit tests of
src/script/lib read these files; LUA_CASES=FOLDER makes them read others, recorded with another seed.
"""

import random
import socket
import sys

# The same text stands in front of every call here and in the unit tests.
PRELUDE = open(__file__.replace("record.py", "prelude.lua")).read()


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


class Server:
    def __init__(self, address):
        self.socket = connect(address)
        self.file = self.socket.makefile("rb")

    def eval(self, call):
        script = (PRELUDE + call + " end))").encode("ascii")
        head = b"*3\r\n$4\r\nEVAL\r\n$%d\r\n" % len(script)
        self.socket.sendall(head + script + b"\r\n$1\r\n0\r\n")
        line = self.file.readline().strip()
        if line[:1] == b"$":
            reply = self.file.read(int(line[1:]) + 2)[:-2]
            return reply.decode("ascii")
        return "REPLY " + line.decode("ascii")


def quote(data):
    """A Lua string with these bytes, in ASCII."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    text = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else "\\%03d" % byte for byte in data
    )
    return "'" + text + "'"


def pick(choices):
    return random.choice(choices)


# Patterns -------------------------------------------------------------------------------------

PIECES = (
    ". a b c x - * + ? ( ) () %1 %2 %0 [ab] [^ab] [a-c] [%a] [^%s] []a] [^]a] [a-] [%-x] %a %d %s %w %p %c "
    "%x %l %u %z %A %D %S %% %. %b() %bxy %f[%w] %f[%a] %f[^a] $ ^ % [ ] %b %f (a (.) (.-) (.*) (a*) .* .- "
    ".+ .? a* b- c+ x? [ab]* [^a]+ %d+ %w* %s* (()) ((a)b) %q [a-%d] [%a-z] [%] [z-a] ab abc"
).split()


def pattern():
    text = "".join(pick(PIECES) for _ in range(random.randint(0, 6)))
    if random.random() < 0.2:
        text = "^" + text
    if random.random() < 0.2:
        text += "$"
    if random.random() < 0.03:
        text += "\0" + pick(PIECES)
    return text


def subject():
    alphabet = pick(["ab", "abc", "abcxyz()", "ab 12,x-Y", "a\0b\xff\n\t."])
    return "".join(pick(alphabet) for _ in range(random.randint(0, 14)))


def replacement():
    return pick(
        [
            quote(pick(["", "-", "<%0>", "%1", "%1%2", "%%", "%", "%x", "[%1]", "%2", "%9", "a%0b%0"])),
            "function(...) return select('#', ...) .. ':' .. tostring((...)) end",
            "function(a) if a == 'a' then return nil end return false end",
            "function(a) return {} end",
            "function() error('stop') end",
            "{a='1', b=2, ab=true, x=false}",
            "setmetatable({}, {__index=function(t, k) return '<' .. k .. '>' end})",
            "5",
            "nil",
            "true",
        ]
    )


def strings():
    s, p = quote(subject()), quote(pattern())
    init = pick(["", "", ", 1", ", 3", ", -2", ", 0", ", 100", ", -100", ", nil", ", '2'", ", 2.7", ", 'x'"])
    choice = random.random()
    if choice < 0.25:
        plain = pick(["", ", true", ", false"]) if init else ""
        return f"return string.find({s}, {p}{init}{plain})"
    if choice < 0.45:
        return f"return string.match({s}, {p}{init})"
    if choice < 0.6:
        return (
            f"local t = {{}} for a, b in string.gmatch({s}, {p}) do t[#t + 1] = tostring(a) .. '|' .. "
            f"tostring(b) if #t > 30 then break end end return table.concat(t, ';')"
        )
    if choice < 0.85:
        most = pick(["", "", ", 0", ", 1", ", 2", ", -1", ", nil", ", 'x'"])
        return f"return string.gsub({s}, {p}, {replacement()}{most})"
    name = pick(["upper", "lower", "reverse", "rep", "find", "match", "gsub", "gmatch", "gfind"])
    arguments = pick(
        [
            s,
            f"{s}, {random.randint(-3, 9)}",
            "",
            "nil",
            "{}",
            "12.5, 3",
            f"{s}, '3'",
            f"{s}, {{}}",
            "'a', 'a', 'a', 'a', 'a'",
            f"{s}, {s}",
        ]
    )
    method = pick(["string.%s(%s)", "string.%s(%s)", "('abc'):%s(%s)"])
    return "return " + method % (name, arguments)


# Values ---------------------------------------------------------------------------------------

NUMBERS = (
    "0 1 -1 2 10 127 128 255 256 -31 -32 -33 -127 -128 -129 -32768 -32769 65535 65536 2147483647 2147483648 "
    "-2147483648 -2147483649 4294967295 4294967296 9007199254740992 9007199254740993 1e15 1e16 1e18 "
    "9.2233720368547758e18 1e19 -1e19 1e308 -1e308 1e-300 0.1 0.5 1.5 -2.25 3.14159265358979 1e14 99999999999999 "
    "123456789012345 1e100 -0.0 1/0 -1/0 0/0 1/3 100000 1e5 1e21 0.0001 0.00001 16777217 2.5e-7"
).split()


def number():
    if random.random() < 0.6:
        return pick(NUMBERS)
    return pick([str(random.randint(-70000, 70000)), repr(random.uniform(-10, 10)), repr(random.gauss(0, 1e10))])


def key():
    # Keys from 32 bytes on are hashed otherwise in Redis' Lua, so a table gives them in another order.
    return text(pick([0, 1, 2, 3, 5, 8, 31]))


def text(length=None):
    if length is None:
        length = pick([0, 1, 3, 5, 8, 31, 32, 33]) if random.random() < 0.9 else pick([255, 256, 300])
    alphabet = pick(["ab", "abc/\\\"\n\t\r\b\f\0\x1f\x7f", "\x80\xff\xc3\xa9ab", "key0123456789"])
    return quote("".join(pick(alphabet) for _ in range(length)))


def value(depth=0):
    choice = random.random()
    if depth > 3 or choice < 0.6:
        return pick([number, number, text, text, lambda: pick("true false nil cjson.null".split())])()
    if choice < 0.75:
        return "{" + ",".join(value(depth + 1) for _ in range(random.randint(0, 4))) + "}"
    if choice < 0.95:
        fields = []
        for _ in range(random.randint(0, 5)):
            name = pick([key, lambda: quote("k%d" % random.randint(0, 20)), number, lambda: str(random.randint(-1, 14))])()
            if name not in ("0/0", "nil"):
                fields.append(f"[{name}]={value(depth + 1)}")
        return "{" + ",".join(fields) + "}"
    return pick(
        [
            "function() end",
            "setmetatable({1,2}, {__index=function() return 5 end})",
            "setmetatable({}, {__len=function() return 3 end})",
            "{[1.5]=1}",
            "{[true]=1}",
            "{[100]=1}",
            "{[1e15]=1}",
            "{[11]=1,[1]=1}",
            "{1,2,nil,4}",
            "{1,nil,nil,nil,nil,nil,nil,nil,nil,nil,nil,12}",
            "{[{}]=1}",
            "(function() local t = {} for i = 1, 40 do t = {t} end return t end)()",
            "(function() local t = {} for i = 1, 1001 do t = {t} end return t end)()",
            "(function() local t = {} t.t = t return t end)()",
            "(function() local t = {} for i = 1, 20 do t[i] = i end return t end)()",
        ]
    )


SETTINGS = [
    "encode_sparse_array(true)",
    "encode_sparse_array(true, 1)",
    "encode_sparse_array(false, 0)",
    "encode_sparse_array(nil, 3, 20)",
    "encode_max_depth(2)",
    "decode_max_depth(2)",
    "encode_number_precision(3)",
    "encode_number_precision(1)",
    "encode_invalid_numbers(true)",
    "encode_invalid_numbers('null')",
    "encode_invalid_numbers('on')",
    "decode_invalid_numbers(false)",
    "encode_keep_buffer(false)",
]

SETTING_ERRORS = [
    "encode_sparse_array('x')",
    "encode_sparse_array(true, -1)",
    "encode_sparse_array(1, 2, 3, 4)",
    "encode_max_depth(0)",
    "encode_max_depth('a')",
    "encode_max_depth(1, 2)",
    "decode_max_depth(-5)",
    "encode_number_precision(15)",
    "encode_number_precision(0)",
    "encode_invalid_numbers('maybe')",
    "encode_invalid_numbers({})",
    "decode_invalid_numbers('null')",
    "encode_keep_buffer('off')",
    "encode_sparse_array()",
    "encode_max_depth()",
    "encode_invalid_numbers()",
    "encode_keep_buffer()",
    "encode()",
    "encode(1, 2)",
    "decode()",
    "decode({})",
    "decode('1', 2)",
    "decode(nil)",
    "new(1)",
    "_NAME",
    "_VERSION",
    "encode_sparse_array(true, 2.9, '7')",
]


def json(depth=0):
    choice = random.random()
    space = pick(["", "", "", " ", "\n", "\t "])
    if depth > 4 or choice < 0.6:
        leaf = pick(
            [
                "1", "-1", "0", "12345678901234567890", "1.5", "-0.25", "1e5", "1E-3", "1e999", "-0", "01", "0x1F",
                "inf", "-inf", "nan", "Infinity", "NaN", "+1", "1.", ".5", "-", "1e", "tru", "true", "false", "null",
                "nul", "1.5.5", "0x", "0x1p4", "123456789012345", "1234567890123456", "12345678901234567", "1e-400",
                '""', '"abc"', '"\\n\\t\\/\\"\\\\"', '"\\u0041"', '"\\u00e9"', '"\\u20ac"', '"\\ud83d\\ude00"',
                '"\\ud83d"', '"\\ude00"', '"\\ud83dx"', '"\\u00"', '"\\u0000"', '"\\x"', '"abc', '"\xff\xfe"',
                '"a\0b"', "'a'", "\0", "x", "\x80", "i", "I", "N", "+", "t", "infinit", "nan(12)", "-nan", "-Infinity",
                '"' + "a" * 40 + '\\n"',
            ]
        )
        return space + leaf + space
    if choice < 0.8:
        return space + "[" + ",".join(json(depth + 1) for _ in range(random.randint(0, 4))) + "]" + space
    pairs = []
    for _ in range(random.randint(0, 4)):
        key = pick(['"a"', '"b"', '"key"', '"\\u0061"', '""', "1", "a"]) if random.random() < 0.9 else json(depth + 1)
        pairs.append(space + key + pick([":", ":", ":", ": ", " :", "", "::"]) + json(depth + 1))
    return space + "{" + ",".join(pairs) + "}" + space


def mutate(text):
    if random.random() < 0.3 and text:
        at = random.randrange(len(text))
        text = text[:at] + pick(["", ",", "]", "}", "[", "{", ":", '"', "\\", "\0", "1"]) + text[at + pick([0, 1]) :]
    return text


def cjson():
    choice = random.random()
    if choice < 0.45:
        return f"return cjson.encode({value()})"
    if choice < 0.8:
        return f"return cjson.decode({quote(mutate(json()))})"
    if choice < 0.93:
        settings = " ".join("c." + pick(SETTINGS) for _ in range(random.randint(1, 2)))
        use = pick([f"c.encode({value()})", f"c.decode({quote(mutate(json()))})"])
        return f"local c = cjson.new() {settings} return {use}"
    if choice < 0.97:
        return f"local c = cjson.new() return c.{pick(SETTING_ERRORS)}"
    depth = pick([999, 1000, 1001, 3000])
    return pick(
        [
            f"return #tostring(cjson.decode(('['):rep({depth}) .. (']'):rep({depth})))",
            f"return cjson.decode(('{{\"a\":'):rep({depth}))",
            f"return #cjson.encode(cjson.decode('[' .. ('1,'):rep({depth}) .. '1]'))",
        ]
    )


# MessagePack ----------------------------------------------------------------------------------

PACKED = [
    b"\x00", b"\x7f", b"\xff", b"\xe0", b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\xc4", b"\xc7", b"\xd4", b"\xd8",
    b"\xca\x3f\x80\x00\x00", b"\xcb\x3f\xf8\0\0\0\0\0\0", b"\xcc\xff", b"\xcd\xff\xff", b"\xce\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xcf\x00\xff\xff\xff\xff\xff\xff\xff", b"\xd0\x80", b"\xd1\x80\x01",
    b"\xd2\x80\x00\x00\x01", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x01", b"\xa0", b"\xa3abc", b"\xd9\x03abc",
    b"\xda\x00\x03abc", b"\xdb\x00\x00\x00\x03abc", b"\x90", b"\x91\x01", b"\x93\x01\x02\x03", b"\xdc\x00\x02\x01\x02",
    b"\xdd\x00\x00\x00\x01\x01", b"\x80", b"\x81\x01\x02", b"\x82\xa1a\x01\xa1b\x02", b"\xde\x00\x01\x01\x02",
    b"\xdf\x00\x00\x00\x01\xa1k\x02", b"\x81\xc0\x01", b"\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01", b"\x92\xc0\x01",
    b"\xdd\xff\xff\xff\xff\x01", b"\xdf\xff\xff\xff\xff\x01", b"\xdb\xff\xff\xff\xffabc", b"\x91\x91\x91\x91\x01",
    b"\x81\x91\x01\x81\x01\x02",
]


def cmsgpack():
    choice = random.random()
    if choice < 0.5:
        values = ", ".join(value() for _ in range(pick([0, 1, 1, 1, 2, 3])))
        return f"return cmsgpack.pack({values})"
    if choice < 0.6:
        return f"return cmsgpack.unpack(cmsgpack.pack({value()}))"
    data = b"".join(pick(PACKED) for _ in range(random.randint(0, 4)))
    if random.random() < 0.3 and data:
        data = data[: random.randrange(len(data))]
    data = quote(data.decode("latin-1"))
    offset = pick(["", ", 0", ", 1", ", 2", ", -1", ", 100", ", nil", ", 'x'"])
    limit = pick(["", ", 0", ", 1", ", 2", ", -1", ", 100", ", {}"])
    return pick(
        [
            f"return cmsgpack.unpack({data})",
            f"return cmsgpack.unpack_one({data}{offset})",
            f"return cmsgpack.unpack_limit({data}{limit}{offset})",
            f"return cmsgpack.{pick(['_NAME', '_VERSION', '_COPYRIGHT', '_DESCRIPTION'])}",
            f"return cmsgpack.unpack({pick(['', 'nil', '{}', '12'])})",
            f"return #cmsgpack.pack(unpack({{}}, 1, {pick([100, 3000, 4000, 5000])}))",
        ]
    )


# struct ---------------------------------------------------------------------------------------

OPTIONS = (
    "b B h H l L T i I i1 i2 i3 i5 i7 i8 I1 I3 I8 i9 I16 i32 I32 i33 i0 f d x c c0 c1 c3 c5 s > < ! !1 !2 !4 !8 !16 !3 !0"
).split() + [" ", "z", "%", "9", "\x80", "i99999999999", "c2147483648"]


def format():
    return "".join(pick(OPTIONS) for _ in range(random.randint(0, 6)))


def structs():
    layout = quote(format())
    choice = random.random()
    if choice < 0.15:
        return f"return struct.size({layout})"
    values = "".join(", " + pick([number, number, text, lambda: pick(["'abcdef'", "nil", "'5'", "{}"])])() for _ in range(random.randint(0, 6)))
    if choice < 0.5:
        return f"return struct.pack({layout}{values})"
    if choice < 0.65:
        letters = "".join(pick("b B h H l L i I f d i3 > < !".split()) for _ in range(random.randint(1, 5)))
        values = "".join(", " + number() for _ in range(6))
        return f"return struct.unpack({quote(letters)}, struct.pack({quote(letters)}{values}))"
    data = quote("".join(chr(random.choice([0, 1, 2, 3, 65, 127, 128, 255])) for _ in range(random.randint(0, 40))))
    offset = pick(["", "", "", ", 1", ", 2", ", 0", ", -1", ", 100", ", nil"])
    return f"return struct.unpack({layout}, {data}{offset})"


# bit ------------------------------------------------------------------------------------------


def bit():
    name = pick("tobit tohex bnot band bor bxor lshift rshift arshift rol ror bswap".split())
    odd = ["'12'", "'0x10'", "nil", "{}", "'a'", "true", "2147483648.5", "-0.5", "1e10", "-1e15", "4503599627370496"]
    arguments = [pick([number, number, lambda: pick(odd), lambda: str(random.randint(-40, 40))])() for _ in range(pick([0, 1, 1, 2, 2, 2, 3, 4]))]
    return f"return bit.{name}({', '.join(arguments)})"


# table ----------------------------------------------------------------------------------------


def tables():
    count = random.randint(0, 30)
    elements = ",".join(str(random.randint(-9, 9)) for _ in range(count))
    order = pick(
        [
            "", "", ", nil", ", function(a, b) return a > b end", ", function(a, b) return a % 3 < b % 3 end",
            ", function() return true end", ", function(a, b) return a <= b end", ", function() return false end",
            ", 5", ", function(a, b) error('odd') end", ", function(a, b) n = n + 1 return a < b end",
        ]
    )
    return pick(
        [
            f"local n = 0 local t = {{{elements}}} table.sort(t{order}) return t, n",
            f"local n = 0 local t = {{{elements}}} table.sort(t{order}) return t, n",
            f"local t = {{{elements}{',' if count else ''} 'a'}} table.sort(t) return t",
            f"local t = {{{elements}}} local r = table.insert(t, {random.randint(-2, 35)}, 'new') return r, t",
            f"local t = {{{elements}}} table.insert(t, 'new') return t",
            f"local t = {{{elements}}} local r = table.remove(t{pick(['', ', 1', ', 2', ', 0', ', -1', ', 99', ', nil'])}) return r, t",
            "return table." + pick(["insert(1)", "insert({})", "insert({}, 1, 2, 3)", "insert({}, 'x', 1)", "remove(5)", "remove()", "remove({})", "sort()", "sort({3, 1, {}})", "sort('x')"]),
            f"local t = {{{','.join(quote(subject()) for _ in range(random.randint(0, 12)))}}} table.sort(t) return t",
        ]
    )


LIBRARIES = {
    "string": (strings, 1500),
    "cjson": (cjson, 1200),
    "cmsgpack": (cmsgpack, 700),
    "struct": (structs, 700),
    "bit": (bit, 300),
    "table": (tables, 300),
}


def main():
    server = Server(sys.argv[1])
    folder = sys.argv[2]
    random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    for name, (generate, count) in LIBRARIES.items():
        count = int(sys.argv[4]) if len(sys.argv) > 4 else count
        with open(f"{folder}/{name}.tsv", "w") as out:
            for _ in range(count):
                call = generate()
                out.write(f"{call}\t{server.eval(call)}\n")


if __name__ == "__main__":
    main()
