import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.jsontext import read
from broker.variables import typed
from gateway.camunda.errors import CamundaError
from gateway.camunda.requests import ThrowRequest, check_headers, parse_signal
from tests.unit.test_jsontext import JSON


def signal(**members):
    return json.dumps({"name": "sig", **members}).encode()


def http_error_for(body, **options):
    with pytest.raises(CamundaError) as caught:
        parse_signal(body, **options)
    return caught.value.status, caught.value.type, caught.value.message


def attempt(body, **options):
    try:
        return parse_signal(body, **options)
    except CamundaError as error:
        return error


MALFORMED = (400, "InvalidRequestException", "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_the_encoding_is_told_by_the_first_bytes(encoding):
    assert parse_signal('{"name":"züg"}'.encode(encoding)).name == "züg"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" "])
def test_bytes_after_the_object_need_not_even_be_text(before):
    assert parse_signal(before + '{"name":"zü"}'.encode() + b"\xff\xfe").name == "zü"


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"sig","variables":{"v":{"value":' + b"[" * 1200 + b"]" * 1200 + b"}}}",
        b'{"name":' + b"[" * 100_000,
        b'{"name":"sig","variables":{"v":{"value":' + b"1" * 5000 + b"}}}",
        b'{"name":"s\xe9g"}',
        b'\xef\xbb\xbf{"name":"\xc3\xbc\xff"}',
        b'{"name":"sig","withoutTenantId":1e400}',
    ],
)
def test_malformed_bodies_are_refused_without_a_word(body):
    assert http_error_for(body) == MALFORMED


@pytest.mark.parametrize("body", [b"null", b" \r\n", b" null "])
def test_a_body_of_nothing_is_refused_with_a_hint(body):
    assert http_error_for(body) == (
        400,
        "InvalidRequestException",
        'The body must be a JSON object, e.g. {"name": "policy_conditions_changed"}',
    )


@pytest.mark.parametrize(("name", "text"), [(1, "1"), (1.5, "1.5"), (True, "true"), (False, "false"), ("", "")])
def test_names_and_ids_are_taken_as_text(name, text):
    parsed = parse_signal(signal(name=name, tenantId=name))
    assert (parsed.name, parsed.tenant_id) == (text, text)


@pytest.mark.parametrize(
    ("value", "flag"),
    [(None, False), (True, True), (2, True), (0, False), ("", False), (" TRUE ", True), ("null", False)],
)
def test_without_tenant_id_is_read_leniently(value, flag):
    assert parse_signal(signal(withoutTenantId=value)).without_tenant_id is flag


@pytest.mark.parametrize("value", [1.0, "yes", "1", [], {}])
def test_without_tenant_id_must_be_a_truth_value(value):
    assert http_error_for(signal(withoutTenantId=value)) == MALFORMED


def test_the_checks_come_in_camundas_order():
    """Each body breaks every later rule as well, so the answer shows which check came first."""
    bad_variable = {"v": {"value": 1, "type": "X"}}
    both = {"executionId": "e", "tenantId": "t"}
    assert http_error_for(signal(name=None, variables={**bad_variable, "w": 1}, **both), engine="nope") == MALFORMED
    assert http_error_for(signal(name=None, variables=bad_variable, **both), engine="nope")[2] == "No signal name given"
    assert http_error_for(signal(variables=bad_variable, **both), engine="nope")[2] == "No process engine available"
    assert http_error_for(signal(variables=bad_variable, **both))[2] == "Unsupported value type 'X'"
    assert http_error_for(signal(**both))[1] == "BadUserRequestException"


def test_of_several_bad_variables_the_first_one_is_reported():
    variables = {"z": {"value": "x", "type": "Long"}, "a": None, "b": {"value": 1, "type": "X"}}
    assert http_error_for(signal(variables=variables))[2].startswith("Cannot convert value 'x' of type 'Long'")


def test_a_variable_that_cannot_be_stored_is_a_matter_of_whether_anybody_receives_it():
    parsed = parse_signal(signal(variables={"n": {"value": 1, "type": "Number"}, "o": {"value": "", "type": "Object"}}))
    assert parsed.payload == b'{"n":1,"o":""}'
    assert parsed.unstorable is not None
    assert parsed.unstorable.body == {
        "type": "InvalidRequestException",
        "message": "Cannot set variable 'n': Number is abstract: give it as Integer, Long, Short or Double",
        "code": None,
    }


def test_values_of_every_kind_share_one_payload():
    variables = {
        "plain": {"value": [1]},
        "typed": {"value": "5", "type": "long"},
        "json": {"value": '{"a": 1}', "type": "Json"},
        "huge": {"value": 0},
    }
    body = signal(variables=variables).replace(b'"value": 0', b'"value": 1e400')
    parsed = parse_signal(body)
    assert parsed.payload == b'{"plain":[1],"typed":5,"json":{"a": 1},"huge":"Infinity"}'
    assert parsed.types == {
        "typed": {"type": "Long"},
        "json": {"type": "Json", "text": True},
        "huge": {"type": "Double"},
    }


@pytest.mark.slow
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_too_strange_for_an_answer(body):
    answer = attempt(body)
    assert isinstance(answer, ThrowRequest) or answer.status == 400


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {"value": JSON},
            optional={
                "type": st.sampled_from(["Boolean", "bytes", "Date", "Double", "Integer", "Object", "String", "File"]),
                "valueInfo": st.dictionaries(st.sampled_from(["transient", "filename", "objectTypeName"]), JSON),
            },
        ),
        max_size=3,
    )
)
def test_no_variable_is_too_strange_for_an_answer(variables):
    answer = attempt(signal(variables=variables))
    if isinstance(answer, CamundaError):
        assert (answer.status, bool(answer.message)) == (400, True)
    else:
        kept = typed(read(answer.payload.decode()), answer.types, answer.payload)
        assert {name: is_transient(variable) for name, variable in kept.items()} == {
            name: is_transient(variable) for name, variable in variables.items()
        }


@pytest.mark.parametrize(
    ("charset", "encoding", "status"),
    [
        ("UTF-8", "utf-8", None),
        ("utf-16", "utf-16", None),
        ("UTF-16LE", "utf-16-le", None),
        ("utf-32", "utf-32", None),
        ("utf-16", "utf-8", 415),
        ("utf-32", "utf-16", 415),
        ("iso-8859-1", "utf-8", 415),
        ("utf-7", "utf-8", 415),
        ("no-such-charset", "utf-8", 415),
    ],
)
def test_a_charset_must_not_tell_another_text(charset, encoding, status):
    body = '{"name":"züg"}'.encode(encoding)
    if status is None:
        assert parse_signal(body, charset=charset).name == "züg"
    else:
        assert attempt(body, charset=charset).status == status


@pytest.mark.parametrize("charset", ["ISO-8859-1", "us-ascii", "windows-1252"])
def test_ascii_may_be_called_by_another_name(charset):
    """Apache's HTTP client says ISO-8859-1 by default, and Camunda takes it (vector http-375)."""
    assert parse_signal(b'{"name":"s"}', charset=charset).name == "s"


def test_json_that_is_too_deep_is_told_by_the_name_of_its_variable():
    deep = {"value": "[" * 250 + "]" * 250, "type": "Json"}
    answer = attempt(signal(variables={"fine": {"value": 1}, "order": deep}))
    assert (answer.status, answer.type) == (400, "InvalidRequestException")
    assert answer.message.startswith("Cannot set variable 'order': its JSON nests deeper than 249 levels")


def is_transient(variable):
    return variable.get("valueInfo", {}).get("transient") is True


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON ; charset=latin1"])
@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "*",
        "application/*",
        "text/html, image/gif, *; q=.2, */*; q=.2",
        "text/plain, application/json;q=0.1, */*;q=0",
        'text/html;level="a,b", application/json',
        'text/html;level="a\\",b", application/json',
        'application/json;level=";q=0"',
        "text/html,,application/json,",
    ],
)
def test_json_in_and_out_is_welcome_however_it_is_put(content_type, accept):
    check_headers(content_type, accept)


@pytest.mark.parametrize(
    ("content_type", "accept", "body"),
    [
        (None, None, ("NotSupportedException", "HTTP 415 Unsupported Media Type")),
        ("", None, ("NotSupportedException", "HTTP 415 Unsupported Media Type")),
        ("*/*", None, ("NotSupportedException", "HTTP 415 Unsupported Media Type")),
        ("application/hal+json", "text/html", ("NotSupportedException", "HTTP 415 Unsupported Media Type")),
        ("garbage", None, ("BadRequestException", "HTTP 400 Bad Request")),
        ("application/json/x", None, ("BadRequestException", "HTTP 400 Bad Request")),
        ("application/json", "text/html", ("NotAcceptableException", "HTTP 406 Not Acceptable")),
        ("application/json", "*/*, application/json;q=0", ("NotAcceptableException", "HTTP 406 Not Acceptable")),
        (
            "application/json",
            'text/html;level="application/json',
            ("NotAcceptableException", "HTTP 406 Not Acceptable"),
        ),
        ("application/json", 'garbage;level="a,b"', ("BadRequestException", "HTTP 400 Bad Request")),
        ("application/json", "garbage", ("BadRequestException", "HTTP 400 Bad Request")),
        ("application/json", "*/*;q=high", ("BadRequestException", "HTTP 400 Bad Request")),
    ],
)
def test_other_media_types_are_refused_as_jax_rs_does(content_type, accept, body):
    with pytest.raises(CamundaError) as caught:
        check_headers(content_type, accept)
    assert (caught.value.type, caught.value.message) == body
    assert caught.value.body["code"] is None


@pytest.mark.parametrize("text", ["9" * 5000, f'{{"a": [-{"9" * 4301}]}}'])
@pytest.mark.parametrize(
    ("kind", "info"),
    [("Json", {}), ("Object", {"objectTypeName": "x", "serializationDataFormat": "application/json"})],
)
def test_json_with_an_integer_that_python_does_not_read_is_json(text, kind, info):
    variable = {"value": text, "type": kind, "valueInfo": info}
    request = parse_signal(json.dumps({"name": "a", "variables": {"v": variable}}).encode())
    assert request.payload.decode() == f'{{"v":{text}}}'
