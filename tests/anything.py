"""What a sender may send: any bytes, JSON of any shape with what breaks parsers in it, and messages gone wrong."""

import json
from collections.abc import Iterable

from hypothesis import strategies as st

# JSON that is legal and hard on who reads it.
HARD = (
    *('""', '"a\\u0000b"', '"\\ud83d\\ude00"', '"\u2028"', '"NaN"', '"sNaN"', '"-Infinity"', '"1e999"', '"oracle"'),
    *("0", "-0", "-1", "1.0", "1e-400", "1e308", "0.1e1", "9" * 25, "18446744073709551616", "-9223372036854775809"),
    *("null", "true", "{}", "[]", "[" * 40 + "]" * 40, "[" * 3000 + "]" * 3000, '{"a":' * 40 + "1" + "}" * 40),
    *('"2026-03-04T11:00:00Z"', '"2026-03-04T11:00:00"', '"0001-01-01T00:00:00+23:59"', '"2026-02-30T00:00:00Z"'),
    *('"9999-12-31T23:59:59.999999-23:59"', '"2026-03-04 11:00:00+25:00"', '"2026-03-04T24:00:00Z"', '"u1"', '"x1"'),
    *('"' + "x" * 201 + '"', '"' + "y" * 33_000 + '"', '"lesson_complete"', '"purchase"', '"Order Completed"', "49.9"),
)
# What is no JSON, or what no reader takes for a number.
BROKEN = ('"\\ud800"', '"\\udc00\\ud800"', '"\\x"', "1e400", "-1e400", "9" * 5000, "01", "1_0", "NaN", "Infinity", "[")
_scalars = st.one_of(
    *[st.sampled_from(HARD)] * 5,
    st.text(max_size=20).map(json.dumps),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.sampled_from(BROKEN),
)


def any_text() -> st.SearchStrategy[str]:
    """Texts of JSON strings, mostly."""
    strings = st.sampled_from([one for one in HARD if one.startswith('"')])
    return st.one_of(strings, strings, st.text(min_size=1, max_size=20).map(json.dumps), _scalars)


def _array(items: Iterable[str]) -> str:
    return "[" + ",".join(items) + "]"


def _object(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


def objects(names: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts of objects; a name may come twice."""
    return st.lists(st.tuples(names, values), max_size=4).map(_object)


def any_json(*names: str) -> st.SearchStrategy[str]:
    """Texts that are JSON, or nearly; the keys of its objects are often `names`."""
    keys = st.sampled_from([*names, "\x00", "a\x00b"]) | st.text(max_size=8)
    inner = _scalars | st.lists(_scalars, max_size=3).map(_array) | objects(keys, _scalars)
    return _scalars | inner | objects(keys, inner)


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """Texts with a piece cut out, doubled, or replaced by some bytes."""
    whole = draw(texts).encode("utf-8", "surrogatepass")
    start = draw(st.integers(0, len(whole)))
    end = min(len(whole), start + draw(st.integers(0, 10)))
    others = st.sampled_from([one.encode() for one in HARD + BROKEN])
    return whole[:start] + draw(st.binary(max_size=4) | st.just(whole[start:end] * 2) | others) + whole[end:]


@st.composite
def message(draw: st.DrawFn, good: dict[str, object], fields: dict[str, st.SearchStrategy[str]]) -> str:
    """A good message of which up to three fields are something else, missing, or new."""
    texts = {name: json.dumps(value) for name, value in good.items()}
    for name in draw(st.lists(st.sampled_from([*fields]), max_size=3)):
        texts[name] = draw(fields[name])
    for name in draw(st.lists(st.sampled_from([*good]), max_size=1)) if draw(st.integers(0, 9)) == 0 else []:
        texts.pop(name, None)
    return _object(texts.items())


def bodies(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Bodies of a request: mostly `texts` as they are, some damaged, some any bytes."""
    whole = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(whole, whole, whole, whole, damaged(texts), st.binary(max_size=60))
