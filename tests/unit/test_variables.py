import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.jsontext import MAX_NESTING, STYLES, read, write
from broker.variables import infer, split, typed
from tests.unit.test_jsontext import JSON, JSON_TEXT

DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["NaN", "Infinity", "-Infinity"])
JSON_TEXTS = st.builds(write, JSON, st.sampled_from(STYLES)) | JSON_TEXT | st.text()
FORMATS = st.sampled_from(["application/json", "Application/JSON; charset=utf-8", "application/xml", "text/plain"])
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


def seen(payload, types):
    """Return the typed view of a payload and types as they travel."""
    return typed(read(payload.decode()), read(write(types)), payload)


@given(st.dictionaries(st.text(), VARIABLES, max_size=5))
def test_splitting_loses_nothing(variables):
    assert canonical(seen(*split(variables))) == canonical(variables)


@pytest.mark.slow
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_plain_payload_needs_no_types(payload):
    text, types = split(typed(payload, {}, b""))
    assert (repr(read(text.decode())), types) == (repr(payload), {})


@pytest.mark.slow
@given(JSON_TEXT, st.sampled_from(["Json", "Object"]))
def test_however_json_is_written_the_payload_has_its_value_and_the_variable_its_text(text, kind):
    info = {} if kind == "Json" else {"objectTypeName": "a.B", "serializationDataFormat": "application/json"}
    variable = {"value": text, "type": kind, "valueInfo": info}

    payload, types = split({"v": variable, "w": infer(1)})

    assert repr(json.loads(payload)["v"]) == repr(json.loads(text))
    assert seen(payload, types) == {"v": variable, "w": infer(1)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"price":12.50}', {"price": 12.5}),
        ('{"url":"https:\\/\\/x"}', {"url": "https://x"}),
        ('{"n":"M\\u00FCller"}', {"n": "Müller"}),
        ('{"q":"a\\u003cb"}', {"q": "a<b"}),
        ('{"big":1.0E10}', {"big": 1e10}),
        ('{\n  "a": 1\n}', {"a": 1}),
        ('{ "a" : 1 }', {"a": 1}),
        ('{"a":1,"a":2}', {"a": 2}),
        ("[]\n", []),
        ("\t-0 ", 0),
        ('"\\ud83d\\uDE00\\u001F\\u0000"', "\U0001f600\x1f\0"),
        ('"\\ud800"', "\ud800"),
    ],
)
def test_json_of_common_writers_is_parsed(text, value):
    payload, types = split({"v": {"value": text, "type": "Json", "valueInfo": {}}})

    assert repr(read(payload.decode())["v"]) == repr(value)
    assert seen(payload, types)["v"]["value"] == text


@pytest.mark.parametrize("number", ["12345678901234567890.123456789", "1e400", "0.1000000000000000055511151231257827"])
def test_numbers_keep_digits_that_a_double_has_not(number):
    payload, _ = split({"v": {"value": f"[{number}]", "type": "Json", "valueInfo": {}}})

    assert payload == f'{{"v":[{number}]}}'.encode()


def test_an_unpaired_surrogate_is_escaped_since_utf8_cannot_hold_it():
    payload, types = split({"v": {"value": '["\ud800"]', "type": "Json", "valueInfo": {}}})

    assert payload == b'{"v":["\\ud800"]}'
    assert seen(payload, types)["v"]["value"] == '["\\ud800"]'


def test_json_nests_as_deep_as_the_payload_around_it_can_be_read_again():
    deepest = "[" * (MAX_NESTING - 1) + "]" * (MAX_NESTING - 1)
    for text, kind in ((deepest, list), (f"[{deepest}]", str)):
        variables = {"v": {"value": text, "type": "Json", "valueInfo": {}}}

        payload, types = split(variables)

        assert isinstance(read(payload.decode())["v"], kind)
        assert seen(payload, types) == variables


def test_a_variable_whose_text_was_written_from_a_style_is_read_as_before():
    """Signals that 0.1.0 recorded have such notes."""
    types = {"v": {"type": "Json", "style": "spaced-ascii"}}

    assert seen('{"v":{"a":"é"}}'.encode(), types)["v"]["value"] == '{"a": "\\u00e9"}'


@pytest.mark.parametrize("payload", [None, [1, 2], "text", 5, True])
def test_a_payload_that_is_no_object_has_no_variables(payload):
    assert typed(payload, {}, write(payload).encode()) == {}


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
        ('{"a":1}', b'{"a":1}', {"type": "Json", "text": True}),
        (' {"a": 1}\n', b' {"a": 1}\n', {"type": "Json", "text": True}),
        ("null", b"null", {"type": "Json", "text": True}),
        (None, b"null", {"type": "Json"}),
        ("not json{", b'"not json{"', {"type": "Json"}),
        ("", b'""', {"type": "Json"}),
        ("1 2", b'"1 2"', {"type": "Json"}),
        ("NaN", b'"NaN"', {"type": "Json"}),
    ],
)
def test_json_text_is_part_of_the_payload_and_other_text_a_string_in_it(text, payload, note):
    assert split({"v": {"value": text, "type": "Json", "valueInfo": {}}}) == (b'{"v":%b}' % payload, {"v": note})


@pytest.mark.parametrize(
    "data_format",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8;q=1",
        "Application/JSON",
        " application/json\t",
        'application/json ; profile="a;b"',
        "application/json;",
        "application/vnd.order+json",
        "APPLICATION/problem+JSON; v=1",
    ],
)
def test_json_is_parsed_however_its_media_type_is_written(data_format):
    variable = {
        "value": '{"a": 1.50}',
        "type": "Object",
        "valueInfo": {"objectTypeName": "a.B", "serializationDataFormat": data_format},
    }

    payload, types = split({"v": variable})

    assert payload == b'{"v":{"a": 1.50}}'
    assert seen(payload, types) == {"v": variable}


@pytest.mark.parametrize(
    "data_format",
    ["application/xml", "text/plain; is=application/json", "application/jsonp", "json", "+json", "", ";json"],
)
def test_text_of_other_formats_is_never_parsed(data_format):
    info = {"objectTypeName": "java.lang.String", "serializationDataFormat": data_format}
    assert split({"v": {"value": "1", "type": "Object", "valueInfo": info}}) == (
        b'{"v":"1"}',
        {"v": {"type": "Object", "valueInfo": info}},
    )
