import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.conversions import convert, java_text, unstorable
from broker.errors import UnconvertibleVariable, VariableTooDeep
from broker.java_dates import normalize
from broker.jsontext import MAX_MEMBER_NESTING, MAX_NESTING


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("true", "Boolean", True),
        ("True", "Boolean", True),
        ("TRUE", "Boolean", True),
        ("false", "Boolean", False),
        ("False", "Boolean", False),
        ("FALSE", "Boolean", False),
        ("-0", "Integer", 0),
        (" ", "Integer", None),
        ("٣", "Integer", 3),
        ('4"2', "Integer", 4),
        ("4\\u0032", "Integer", 42),
        ("32767", "Short", 32767),
        (-32768, "Short", -32768),
        (2147483647, "Integer", 2147483647),
        ("-2147483648", "Integer", -2147483648),
        (9223372036854775807, "Long", 9223372036854775807),
        (-9223372036854775808, "Long", -9223372036854775808),
        ("-INF", "Double", "-Infinity"),
        ("+Infinity", "Double", "Infinity"),
        ("+1.5", "Double", 1.5),
        (".5", "Double", 0.5),
        ("5.", "Double", 5.0),
        ("1e5f", "Double", 100000.0),
        ("-0x1.8p1", "Double", -3.0),
        ("0x1p99999", "Double", "Infinity"),
        ("-0x1p99999", "Double", "-Infinity"),
        (10**400, "Double", "Infinity"),
        (["a\\u0062"], "String", "[ab]"),
        (['say "hi"'], "String", "[say "),
        (1.0e7, "String", "1.0E7"),
        (True, "Bytes", "true"),
        ("aGVs\r\nbG8=", "Bytes", "aGVsbG8="),
        ("aGVs\\u0062G8=", "Bytes", "aGVsbG8="),
        ("YR==", "Bytes", "YQ=="),
    ],
)
def test_values_are_converted_through_their_java_text(value, kind, expected):
    assert repr(convert(value, kind, None)["value"]) == repr(expected)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("fALSE", "Boolean"),
        ("\t", "Boolean"),
        ("--1", "Integer"),
        ("NULL", "Integer"),
        ("99999999999999999999", "Integer"),
        ("1" * 5000, "Integer"),
        ("1\n2", "Integer"),
        ("\U0001d7db", "Integer"),
        ("!5", "Integer"),
        ("32768", "Short"),
        ("-32769", "Short"),
        (2147483648, "Integer"),
        (-2147483649, "Integer"),
        (9223372036854775808, "Long"),
        ("-9223372036854775809", "Long"),
        ("9223372036854775808", "Number"),
        ("+INF", "Double"),
        ("nan", "Double"),
        (".", "Double"),
        ("0x", "Double"),
        (["a\nb"], "String"),
        ("aGV sbG8=", "Bytes"),
        ("99999999999999999999", "Number"),
        (True, "Number"),
    ],
)
def test_values_that_java_cannot_read_are_refused(value, kind):
    with pytest.raises(UnconvertibleVariable, match="Cannot convert value '"):
        convert(value, kind, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), (1.5, 1.5), ("7", 7), ("7.0", 7.0), ("Infinity", "Infinity"), ("null", None), (10**30, 10**30)],
)
def test_a_number_keeps_the_smallest_type_that_fits(value, expected):
    assert repr(convert(value, "Number", None)["value"]) == repr(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": [1, None, True, "x"]}, "c": 1.5}, "{a={b=[1, null, true, x]}, c=1.5}"),
        (["a", ["b"], {}], "[a, [b], {}]"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (-0.0, "-0.0"),
        (1e300, "1.0E300"),
        (float("inf"), "Infinity"),
        (float("nan"), "NaN"),
        (123456789012345678901, "123456789012345678901"),
    ],
)
def test_java_writes_values_its_own_way(value, text):
    assert java_text(value) == text


@pytest.mark.slow
@given(st.floats(allow_nan=False))
def test_java_text_of_a_double_is_the_double(value):
    assert float(java_text(value)) == value


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_values_as_deep_as_documents_may_be_have_a_text(wrap):
    assert java_text(nested(MAX_NESTING, wrap)).count("1") == 1


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2013-01-23T13:42:42.000 +0200", "2013-01-23T11:42:42.000+0000"),
        ("2013-01-23T24:00:00.000+0000", "2013-01-24T00:00:00.000+0000"),
        ("2013-00-00T00:00:00.000+0000", "2012-11-30T00:00:00.000+0000"),
        ("2013--1-01T00:00:00.000+0000", "2012-11-01T00:00:00.000+0000"),
        ("99999-01-01T00:00:00.000+1400", "99998-12-31T10:00:00.000+0000"),
        ("2013-07-23T13:42:42.000EST", "2013-07-23T18:42:42.000+0000"),
        ("2013-07-23T13:42:42.000cest", "2013-07-23T11:42:42.000+0000"),
        ("2013-01-23T13:42:42.000GMT", "2013-01-23T13:42:42.000+0000"),
        ("2013-01-23T13:42:42.000GMT-2:30", "2013-01-23T16:12:42.000+0000"),
        ("2012-02-29T00:00:00.000+0000", "2012-02-29T00:00:00.000+0000"),
        ("1900-02-29T00:00:00.000+0000", "1900-03-01T00:00:00.000+0000"),
    ],
)
def test_dates_are_read_leniently_and_answered_in_utc(text, utc):
    assert normalize(text) == utc


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        *(("UTC", 12), ("WET", 12), ("WEST", 11), ("CET", 11), ("CEST", 10), ("EET", 10), ("EEST", 9), ("JST", 3)),
        *(("EST", 17), ("EDT", 16), ("CST", 18), ("CDT", 17), ("MST", 19), ("MDT", 18), ("PST", 20), ("PDT", 19)),
    ],
)
def test_common_zones_are_known_by_name(zone, hour):
    assert normalize(f"2013-07-23T12:00:00.000{zone}") == f"2013-07-23T{hour:02d}:00:00.000+0000"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("1500-02-29T00:00:00.000+0000", "1500-02-29T00:00:00.000+0000"),
        ("1582-10-04T24:00:00.000+0000", "1582-10-15T00:00:00.000+0000"),
        ("1582-10-15T00:00:00.000+0000", "1582-10-15T00:00:00.000+0000"),
        ("1582-10-14T24:00:00.000+0000", "1582-10-25T00:00:00.000+0000"),
        ("0001-01-01T00:00:00.000+0000", "0001-01-01T00:00:00.000+0000"),
        ("0000-01-01T00:00:00.000+0000", "0001-01-01T00:00:00.000+0000"),
        ("-1-12-31T00:00:00.000+0000", "0002-12-31T00:00:00.000+0000"),
        ("1000-03-01T00:00:00.000+0000", "1000-03-01T00:00:00.000+0000"),
        ("0004-02-29T00:00:00.000+0000", "0004-02-29T00:00:00.000+0000"),
        ("0999-12-31T24:00:00.000+0000", "1000-01-01T00:00:00.000+0000"),
    ],
)
def test_dates_before_october_1582_are_julian_as_in_java(text, utc):
    assert normalize(text) == utc


@pytest.mark.slow
@given(st.datetimes())
def test_dates_since_1583_are_those_of_the_calendar(moment):
    if moment.year < 1583:
        moment = moment.replace(year=moment.year + 1600)
    milliseconds = f"{moment.isoformat(timespec='milliseconds')}+0000"
    assert normalize(milliseconds) == milliseconds


@pytest.mark.parametrize("zone", ["", "Z", "z", "+02:00", "+020", "+2400", "+0260", "GMT+", "GMT+24:00", "XYZ"])
def test_zones_java_does_not_know_are_refused(zone):
    with pytest.raises(ValueError, match="is not a date"):
        normalize(f"2013-01-23T13:42:42.000{zone}")


def test_only_the_first_letter_of_a_type_may_be_written_either_way():
    assert convert(5, "integer", None) == convert(5, "Integer", None)
    with pytest.raises(UnconvertibleVariable, match="Unsupported value type 'INteger'"):
        convert(5, "INteger", None)


def test_what_is_transient_says_so():
    assert convert([1], None, {"transient": True}) == {
        "value": "[1]",
        "type": "Object",
        "valueInfo": {
            "objectTypeName": "java.util.ArrayList",
            "serializationDataFormat": "application/json",
            "transient": True,
        },
    }


@pytest.mark.parametrize("transient", [False, None, "true", 1])
def test_without_a_type_only_true_is_transient(transient):
    assert convert("x", None, {"transient": transient})["valueInfo"] == {}


def test_an_object_that_is_null_needs_no_class():
    assert unstorable(convert(None, "Object", {"serializationDataFormat": "application/json"})) is None


@pytest.mark.parametrize("kind", ["Object", "File", "Json", "Xml"])
def test_transient_must_be_a_truth_value(kind):
    with pytest.raises(UnconvertibleVariable, match="'transient' of valueInfo must be true or false"):
        convert("", kind, {"transient": "x", "filename": "a"})


IN_JSON = {"objectTypeName": "a.B", "serializationDataFormat": "application/json"}
IN_UTF8 = {**IN_JSON, "serializationDataFormat": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("kind", "info"), [("Json", {}), ("json", {}), ("Object", IN_JSON), ("object", IN_JSON), ("Object", IN_UTF8)]
)
def test_json_that_no_payload_can_hold_is_refused(kind, info):
    for opening, closing in ("[]", ('{"a":[', "]}"), (" [\n", "]")):
        deepest = MAX_MEMBER_NESTING // opening.count("[") // (1 + opening.count("{"))
        convert(f"{opening * deepest}{closing * deepest}", kind, info)
        for levels in (deepest + 1, 10_000):
            with pytest.raises(VariableTooDeep, match="249 levels"):
                convert(f"{opening * levels}{closing * levels}", kind, info)


@pytest.mark.parametrize(
    ("kind", "info"), [("Json", {}), ("Object", {**IN_JSON, "serializationDataFormat": "text/xml"})]
)
def test_text_that_is_no_json_may_have_any_brackets(kind, info):
    for text in ("[]" * 300, "{" + "[" * 250, '"' + "[" * 300 + '"'):
        assert convert(text, kind, info)["value"] == text
