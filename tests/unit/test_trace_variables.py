"""OpenTelemetry's variables with values that it cannot use."""

from __future__ import annotations

import pytest

from broker.tracing.variables import Wrong, find_wrong, hide_credentials, is_wanted, protocol

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = (
    'must be name=value,name=value, printable ASCII also once it is decoded, with " ; \\ percent-encoded; it is left '
    "out"
)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (ENDPOINT, "localhost:4317"),
        (ENDPOINT, "http://"),
        (ENDPOINT, "http://[::1"),
        (ENDPOINT, "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpcs"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "nan"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_PROPAGATORS", "tracecontext,jaeger"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "9999999999"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "1.5"),
    ],
)
def test_a_wrong_value_is_found_with_what_it_may_be(variable, value):
    [wrong] = find_wrong({variable: value})
    assert (wrong.variable, wrong.value) == (variable, value)
    assert wrong.hint.startswith(("must be ", "signals carry "))


def test_the_value_is_not_repeated_if_it_may_be_a_credential():
    [wrong] = find_wrong({"OTEL_EXPORTER_OTLP_HEADERS": "Bearer secret"})
    assert wrong == Wrong("OTEL_EXPORTER_OTLP_HEADERS", "", HEADERS)


@pytest.mark.parametrize(
    "value",
    [
        "authorization=Bearer%20secret%0Ax",
        "authorization=Bearer%20secret%0D%0Ax",
        "authorization=secret%00x",
        "authorization=secret%7f",
        "a=b,authorization=%E2%82%AC",
        "authorization=secreté",
        "authorization%0Ax=secret",
        "a b=secret",
        "x(y)=secret",
        "=secret",
        "a=b,secret",
        'a="secret"',
        "a=b;c=secret",
        ",",
    ],
)
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_headers_that_cannot_be_sent_are_found_and_not_repeated(variable, value):
    assert [*find_wrong({variable: value})] == [Wrong(variable, "", HEADERS)]


@pytest.mark.parametrize(
    "value",
    [
        "authorization=Bearer%20secret",
        "authorization=Bearer secret",
        "authorization=Basic dXNlcjpwYXNz==",
        " a = b , c = d ,",
        "a=",
        "authorization=secret%0A",
        "a=50%",
        "x-scope-orgid=1,b=%2C%22%3B%5C",
    ],
)
def test_headers_that_can_be_sent_are_left_alone(value):
    """OpenTelemetry takes space away from the end of a value, and so the line break of a file with a token."""
    assert [*find_wrong({"OTEL_EXPORTER_OTLP_HEADERS": value})] == []


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("a=secret", "of 'secret'", "of '***'"),
        ("a=Bearer%20se%22cret", """of b'Bearer se"cret' or Bearer%20se%22cret""", "of b'***' or ***"),
        ("a=Bearer secret", "of secret, of the Bearer", "of ***, of the ***"),
        ("a=secret%5C%27", repr("secret\\'"), '"***"'),
        ("a=secret,b=secret-longer", "secret-longer", "***"),
        ("a=1,b=,c", "code: 401", "code: 401"),
    ],
)
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_values_of_headers_are_hidden_in_texts_however_they_are_written(variable, value, text, shown):
    assert hide_credentials(text, {variable: value}) == shown


@pytest.mark.parametrize("variable", [ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_the_query_and_the_password_of_the_endpoint_are_hidden(variable):
    text = "url: /v1/traces?key=secret of http://user:password@a"
    shown = "url: /v1/traces?*** of http://***@a"
    assert hide_credentials(text, {variable: "http://user:password@a/v1/traces?key=secret"}) == shown
    assert hide_credentials(text, {variable: "http://a/v1/traces"}) == text


@pytest.mark.parametrize("ratio", ["2", "-0.1", "half", "nan"])
def test_the_ratio_counts_only_for_samplers_that_take_one(ratio):
    environment = {"OTEL_TRACES_SAMPLER_ARG": ratio}
    assert not [*find_wrong(environment | {"OTEL_TRACES_SAMPLER": "always_on"})]
    for sampler in ("traceidratio", "parentbased_traceidratio"):
        [wrong] = find_wrong(environment | {"OTEL_TRACES_SAMPLER": sampler})
        assert wrong == Wrong("OTEL_TRACES_SAMPLER_ARG", ratio, "must be a number from 0 to 1; 1 is taken")


def test_right_and_empty_values_are_no_news():
    assert not [
        *find_wrong(
            {
                ENDPOINT: "https://collector.example:4317/base",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
                "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20x, tenant=7",
                "OTEL_RESOURCE_ATTRIBUTES": "service.version=1,deployment.environment.name=test",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.25",
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_SDK_DISABLED": "false",
                "OTEL_PROPAGATORS": "tracecontext, baggage",
                "OTEL_BSP_MAX_QUEUE_SIZE": "4096",
                "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
                "OTEL_BSP_SCHEDULE_DELAY": "",
            }
        )
    ]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, True),
        ({ENDPOINT: "http://a", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({ENDPOINT: "http://a", "OTEL_SDK_DISABLED": "false"}, True),
        ({ENDPOINT: "http://a", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_wanted_if_there_is_an_endpoint_and_nothing_turns_them_off(environment, wanted):
    assert is_wanted(environment) is wanted


def test_the_protocol_of_traces_precedes_that_of_everything():
    assert protocol({}) == "http/protobuf"
    assert protocol({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == "grpc"
    both = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert protocol(both) == "http/protobuf"
