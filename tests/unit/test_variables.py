import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.jsontext import STYLES, encode, read, write
from broker.variables import infer, split, typed
from tests.unit.test_jsontext import JSON

DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["NaN", "Infinity", "-Infinity"])
JSON_TEXTS = st.builds(write, JSON, st.sampled_from(STYLES)) | JSON.map(lambda v: f" {write(v)}\n") | st.text()
FORMATS = st.sampled_from(["application/json", "application/xml", "text/plain"])
TRANSIENT = st.sampled_from([{}, {"transient": True}])


def variable(kind, values, infos=None):
    infos = st.just({}) if infos is None else infos
    merged = st.builds(lambda info, transient: {**info, **transient}, infos, TRANSIENT)
    return st.fixed_dictionaries({"value": st.none() | values, "type": st.just(kind), "valueInfo": merged})


VARIABLES = st.one_of(
    JSON.map(infer),
    variable("Boolean", st.booleans()),
    variable("Short", st.integers(-(1 << 15), (1 << 15) - 1)),
    variable("Integer", st.integers(-(1 << 31), (1 << 31) - 1)),
    variable("Long", st.integers(-(1 << 63), (1 << 63) - 1)),
    variable("Double", DOUBLES),
    variable("String", st.text()),
    variable("Date", st.just("2026-01-31T08:00:00.000+0000")),
    variable("Null", st.none()),
    variable("Xml", st.text()),
    variable("Json", JSON_TEXTS),
    variable("File", st.just("aGVsbG8="), st.fixed_dictionaries({"filename": st.text()})),
    variable(
        "Object",
        JSON_TEXTS,
        st.fixed_dictionaries(
            {"serializationDataFormat": FORMATS},
            optional={"objectTypeName": st.sampled_from(["java.util.ArrayList", "a.B"])},
        ),
    ),
)


def canonical(variables):
    """Tells 1, 1.0 and true apart, which ``==`` does not."""
    return json.dumps(variables, sort_keys=True)


@given(st.dictionaries(st.text(), VARIABLES, max_size=5))
def test_splitting_loses_nothing(variables):
    assert canonical(typed(*split(variables))) == canonical(variables)


@given(st.dictionaries(st.text(), VARIABLES, max_size=5))
def test_splitting_loses_nothing_on_the_wire_either(variables):
    payload, types = split(variables)
    assert canonical(typed(read(encode(payload).decode()), read(write(types)))) == canonical(variables)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_plain_payload_needs_no_types(payload):
    assert repr(split(typed(payload, {}))) == repr((payload, {}))


@pytest.mark.parametrize("payload", [None, [1, 2], "text", 5, True])
def test_a_payload_that_is_no_object_has_no_variables(payload):
    assert typed(payload, {}) == {}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("s", "String"),
        (True, "Boolean"),
        (None, "Null"),
        (1.0, "Double"),
        (2147483647, "Integer"),
        (-2147483648, "Integer"),
        (2147483648, "Long"),
        (-2147483649, "Long"),
        (9223372036854775807, "Long"),
        (-9223372036854775808, "Long"),
    ],
)
def test_simple_values_are_inferred_by_kind_and_range(value, kind):
    assert infer(value) == {"value": value, "type": kind, "valueInfo": {}}


@pytest.mark.parametrize(
    ("value", "text", "java_class"),
    [
        ([1, "é"], '[1,"é"]', "java.util.ArrayList"),
        ({"a": 1}, '{"a":1}', "java.util.LinkedHashMap"),
        (9223372036854775808, "9223372036854775808", "java.math.BigInteger"),
        (-9223372036854775809, "-9223372036854775809", "java.math.BigInteger"),
    ],
)
def test_everything_else_is_inferred_as_an_object_in_json_text(value, text, java_class):
    info = {"objectTypeName": java_class, "serializationDataFormat": "application/json"}
    assert infer(value) == {"value": text, "type": "Object", "valueInfo": info}


@pytest.mark.parametrize(
    ("text", "payload", "note"),
    [
        ('{"a":1}', {"a": 1}, {"type": "Json", "style": "compact"}),
        ('{"a": 1, "b": 2}', {"a": 1, "b": 2}, {"type": "Json", "style": "spaced"}),
        ('["\\u00e9"]', ["é"], {"type": "Json", "style": "compact-ascii"}),
        ('"x"', "x", {"type": "Json", "style": "compact"}),
        ("null", None, {"type": "Json", "style": "compact"}),
        (None, None, {"type": "Json"}),
        ("not json{", "not json{", {"type": "Json"}),
        ('{\n  "a": 1\n}', '{\n  "a": 1\n}', {"type": "Json"}),
        ('{"a":1,"a":2}', '{"a":1,"a":2}', {"type": "Json"}),
        ("[1e400]", "[1e400]", {"type": "Json"}),
    ],
)
def test_json_text_travels_parsed_where_it_can_be_written_back(text, payload, note):
    assert split({"v": {"value": text, "type": "Json", "valueInfo": {}}}) == ({"v": payload}, {"v": note})


def test_text_of_other_formats_is_never_parsed():
    info = {"objectTypeName": "java.lang.String", "serializationDataFormat": "application/xml"}
    assert split({"v": {"value": "1", "type": "Object", "valueInfo": info}}) == (
        {"v": "1"},
        {"v": {"type": "Object", "valueInfo": info}},
    )
