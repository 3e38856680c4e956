"""Templates: what is inserted where, and that no payload breaks out of its place."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidField, Unrenderable
from broker.templates import (
    BODY_LIMIT,
    check_content_type,
    check_template,
    check_url_template,
    render_body,
    render_header,
    render_url,
)

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

PAYLOAD = {
    "text": 'say "hi"\\',
    "lines": "a\r\nX-Evil: 1\x00\x7f",
    "number": 1.5,
    "big": 12345678901234567890123,
    "yes": True,
    "nothing": None,
    "empty": "",
    "list": [1, {"a": None}],
    "alerts": [{"name": "one"}, {"name": "two", "number": 2}],
    "object": {"deep": {"er": "x"}},
    "length": "long",
}
CONTEXT = {"id": 7, "name": "alerts", "tenantId": None, "payload": PAYLOAD}

BODIES = {
    "text in a string": ('{"a": "<{{payload.text}}>"}', r'{"a": "<say \"hi\"\\>"}'),
    "text as a value": ('{"a": {{payload.text}}}', r'{"a": "say \"hi\"\\"}'),
    "a number in a string": ('"{{payload.number}}"', '"1.5"'),
    "a number as a value": ("[{{payload.number}},{{payload.big}}]", "[1.5,12345678901234567890123]"),
    "true": ('["{{payload.yes}}", {{payload.yes}}]', '["true", true]'),
    "null": ('["{{payload.nothing}}", {{payload.nothing}}]', '["", null]'),
    "missing": ('["{{payload.no.such}}", {{payload.text.x}}]', '["", null]'),
    "a list": ('[{{payload.list}}, "{{payload.list}}"]', r'[[1,{"a":null}], "[1,{\"a\":null}]"]'),
    "a path": ("[{{payload.object.deep.er}},{{payload.list.0}},{{payload.list.2}}]", '["x",1,null]'),
    "a key": ("{ {{payload.object.deep.er}}: 1}", '{ "x": 1}'),
    "a payload's length": ("{{payload.length}}", '"long"'),
    "a list has no length": ("{{payload.list.length}}", "null"),
    "nothing of Python": ("[{{payload.__class__}},{{payload.text.upper}},{{payload.keys}}]", "[null,null,null]"),
    "closing braces": ('{"a":{"b":{{id}}}}', '{"a":{"b":7}}'),
    "a section of a list": ('"{{#payload.alerts}}{{name}}={{number}};{{/payload.alerts}}"', '"one=;two=2;"'),
    "an element": ('"{{#payload.list}}{{.}} {{/payload.list}}"', r'"1 {\"a\":null} "'),
    "a section that is there": ('"{{#payload.object}}{{deep.er}}{{/payload.object}}"', '"x"'),
    "a section that is not": ('"{{#payload.empty}}x{{/payload.empty}}"', '""'),
    "the other case": ('"{{^payload.empty}}x{{/payload.empty}}"', '"x"'),
    "strings begun and ended in sections": ('{{#payload.yes}}"{{/payload.yes}}{{payload.text}}"', r'"say \"hi\"\\"'),
    "a quote that is escaped": (r'"\"{{payload.text}}\""', r'"\"say \"hi\"\\\""'),
    "a comment": ('{{! what, "this" }}{{id}}', "7"),
    "no tag at all": ("{}", "{}"),
    "nothing": ("", ""),
    "nothing in the end": ("{{#payload.nothing}}[]{{/payload.nothing}}", ""),
}


@pytest.mark.parametrize(("template", "expected"), BODIES.values(), ids=BODIES)
def test_a_value_is_inserted_into_json_as_its_place_asks_for(template, expected):
    check_template(template, "/t")
    assert render_body(template, JSON, CONTEXT).decode() == expected


LINES = {
    "{{#payload.yes}}\nx\n{{/payload.yes}}\n": "x\n",
    "a\n  {{#payload.yes}}  \n  x\n\t{{/payload.yes}}\t\r\nb": "a\n  x\nb",
    "{{#payload.yes}}{{#id}}\nx\n{{/id}} {{/payload.yes}}": "x\n",
    "{{! a\nb }}\n\n{{id}}\n": "\n7\n",
    "- {{#payload.yes}}\nx\n{{/payload.yes}}.\n": "- \nx\n.\n",
    "{{#payload.alerts}}\n- {{name}}{{/payload.alerts}}\n": "- one- two\n",
    "{{#payload.alerts}}\n- {{name}}\n{{/payload.alerts}}": "- one\n- two\n",
    "\n\n{{^id}}\n\n{{/id}}\n": "\n\n",
}


@pytest.mark.parametrize(("template", "expected"), LINES.items(), ids=map(repr, LINES))
def test_a_line_of_nothing_but_sections_and_comments_goes(template, expected):
    """As in mustache.js, which renders Unleash's templates."""
    check_template(template, "/t")
    assert render_body(template, TEXT, CONTEXT).decode() == expected


def render_lines(payload):
    return render_body('{"a": "{{payload.v}}", "b": {{payload.v}}}', JSON, {"payload": payload})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_json_stays_what_the_template_says_whatever_is_inserted(value):
    document = json.loads(render_lines({"v": value}))
    assert document.keys() == {"a", "b"}
    assert document["b"] == value
    assert isinstance(document["a"], str)
    if isinstance(value, str):
        assert document["a"] == value


@pytest.mark.parametrize(
    "value",
    [
        '","admin":true,"x":"',
        "\\",
        '\\"',
        '"',
        "\\u0022",
        "\u2028\u2029\x00\x1f",
        "{{payload.secret}}",
        "}}{{",
        "\ud800",
        "</script>",
        '"}\n{"',
    ],
)
def test_no_text_ends_its_string(value):
    """What looks like a template in a payload is a text like any other."""
    assert json.loads(render_lines({"v": value, "secret": "s"})) == {"a": value, "b": value}


@pytest.mark.parametrize(
    "template",
    ['{"a": {{payload.text}}x}', '{"a": "{{payload.text}}}', '"{{payload.yes}}', "{{name}} {{name}}", '["\\{{name}}"]'],
)
def test_what_is_not_json_in_the_end_is_not_sent(template):
    with pytest.raises(Unrenderable):
        render_body(template, JSON, CONTEXT)


@given(st.text(min_size=1))
def test_a_form_keeps_its_fields(value):
    body = render_body("a={{payload.v}}&b=2", FORM, {"payload": {"v": value}}).decode()
    assert parse_qsl(body) == [("a", value), ("b", "2")]


def test_plain_text_takes_a_text_as_it_is():
    assert render_body("{{payload.text}}: {{payload.list}}{{payload.nothing}}", TEXT, CONTEXT) == (
        b'say "hi"\\: [1,{"a":null}]'
    )
    assert render_body("{{payload.v}}", TEXT, {"payload": {"v": "\ud800"}}) == b"?"


@given(st.text(max_size=1000))
def test_a_header_is_one_line_of_printable_ascii(value):
    header = render_header("Bearer {{payload.v}}", {"payload": {"v": value}})
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith("Bearer")


def test_a_header_keeps_what_can_be_in_it():
    assert render_header("{{payload.lines}} é", CONTEXT | {"payload": {"lines": "a\r\nX: é1"}}) == "aX: 1 é"


DOTS = re.compile(r"(^|[/\\])\.{1,2}(;|[/\\]|$)")


@given(st.text(min_size=1, max_size=80).filter(lambda text: not DOTS.search(text)))
def test_a_value_stays_in_its_part_of_a_url(value):
    url = render_url("https://h/a/{{payload.v}}/b?q={{payload.v}}", {"payload": {"v": value}})
    head, part, tail = url.split("/", 4)[2], url.split("/")[4], url.split("/")[5]
    assert (head, unquote(part), tail.partition("=")[0]) == ("h", value, "b?q")
    assert parse_qsl(tail.partition("?")[2]) == [("q", value)]


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", ".", "..", "x" * 2049),
        *("..;", ".;", "..;a=b", "..;/admin", "../../admin", "a/..", "a/./b", "..\\admin", "a\\..", "a/..;x/b"),
    ],
    ids=lambda value: str(value)[:10],
)
def test_a_value_that_would_make_it_another_url_is_not_sent(value):
    with pytest.raises(Unrenderable):
        render_url("https://h/a/{{payload.v}}/b", {"payload": {"v": value}})


@pytest.mark.parametrize(
    "url", ["https://h/a/.{{payload.v}}/b", "https://h/%2e{{payload.v}}", "https://h/..{{id}}/../"]
)
def test_a_value_leads_nowhere_together_with_what_is_beside_it(url):
    with pytest.raises(Unrenderable):
        render_url(url, {"payload": {"v": "."}, "id": ";"})


def test_reserved_characters_of_a_value_are_percent_encoded():
    value = "x;role=admin!$&'()*+,:=@/?#[]%~"
    url = render_url("https://h/{{payload.v}};v=1/b?q={{payload.v}}", {"payload": {"v": value}})
    encoded = "x%3Brole%3Dadmin%21%24%26%27%28%29%2A%2B%2C%3A%3D%40%2F%3F%23%5B%5D%25~"
    assert url == f"https://h/{encoded};v=1/b?q={encoded}"


def test_a_url_that_is_no_template_is_left_alone():
    assert render_url("https://h/a/../b?{x}=%7B", CONTEXT) == "https://h/a/../b?{x}=%7B"


REFUSED = {
    "{{payload.a": "is not a template: Unclosed token '{{payload.a' at line 1 column 1",
    "{{": "is not a template: Unclosed token '{{' at line 1 column 1",
    "{{#payload}}x": "is not a template: Unclosed section '{{#payload}}' at line 1 column 1",
    "{{/payload}}": "is not a template: Unopened section '{{/payload}}' at line 1 column 1",
    "{{#payload}}{{/name}}": "is not a template: Unopened section '{{/name}}' at line 1 column 13",
    "{{#payload}}{{/payload}}": "the section payload is empty",
    "{{#payload}}\n{{! nothing }}\n{{/payload}}": "the section payload is empty",
    "{{#payload}}\nx{{/name}}": "is not a template: Unopened section '{{/name}}' at line 2 column 2",
    "{{{payload}}}": "must be {{payload}}: values are always escaped as their place requires",
    "{{&payload}}": "must be {{payload}}: values are always escaped as their place requires",
    "{{> /etc/passwd}}": "has a tag {{> or {{=: there is nothing to include or to change",
    "{{=<% %>=}}<%payload%>": "has a tag {{> or {{=: there is nothing to include or to change",
    "\ud800{{name}}": "is not a template: 'utf-8' codec can't encode character",
    "x" * 16385: "must have at most 16384 characters",
    "{{#id}}" * 11 + "x" + "{{/id}}" * 11: "nests sections deeper than 10",
}


@pytest.mark.parametrize(("template", "detail"), REFUSED.items(), ids=[ascii(key[:20]) for key in REFUSED])
def test_what_is_not_a_template_is_refused(template, detail):
    with pytest.raises(InvalidField) as caught:
        check_template(template, "/t")
    assert caught.value.pointer == "/t"
    assert caught.value.detail.startswith(detail)
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize("template", ["{{payloat.a}}", "{{}}", "{{.}}", "{{.payload}}", "{{#alerts}}x{{/alerts}}"])
def test_a_name_that_no_signal_has_is_refused(template):
    with pytest.raises(InvalidField, match="must begin with one of attempt, businessKey, "):
        check_template(template, "/t")


@given(st.text(alphabet='{}#^/!&>= .ab"\\\n') | st.text())
def test_any_text_is_a_template_or_refused(text):
    try:
        check_template(text, "/t")
    except InvalidField:
        return
    for render in (lambda: render_body(text, JSON, CONTEXT), lambda: render_header(text, CONTEXT)):
        try:
            render()
        except Unrenderable:
            continue


@pytest.mark.parametrize(
    "url",
    ["https://{{name}}/", "https://h{{name}}/", "https://h:{{id}}/", "{{name}}", "https://h?{{name}}", "h/{{id}}"],
)
def test_the_host_never_comes_from_a_value(url):
    with pytest.raises(InvalidField, match="only after the host"):
        check_url_template(url, "/u")


def test_a_url_is_judged_with_something_in_the_place_of_its_values():
    assert check_url_template("https://h/{{payload.a}}/b?c={{ id }}", "/u") == "https://h/0/b?c=0"
    assert check_url_template("https://h", "/u") == "https://h"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "APPLICATION/JSON; charset=UTF-8", "application/merge-patch+json", FORM, TEXT],
)
def test_values_can_be_escaped_in_these(content_type):
    check_content_type(content_type, "/h")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/xml", "text/html", " application/json", "application/json; charset=latin1", "application/json-seq"],
)
def test_values_cannot_be_escaped_in_others(content_type):
    with pytest.raises(InvalidField, match="must be application/json"):
        check_content_type(content_type, "/h")


def test_sections_within_sections_do_not_multiply_without_bound():
    """Eight levels over ten elements would be a hundred million rounds."""
    template = "{{#payload.l}}" * 8 + "{{.}}" + "{{/payload.l}}" * 8
    check_template(template, "/t")
    with pytest.raises(Unrenderable, match="takes more than 20000 steps"):
        render_body(template, TEXT, {"payload": {"l": list(range(10))}})


def test_a_long_list_of_long_texts_is_cut_off_at_the_limit():
    made = []

    class Texts(list):
        def __iter__(self):
            for _ in range(1_000_000):
                made.append(1)
                yield "x"

    with pytest.raises(Unrenderable, match=f"has more than {BODY_LIMIT} bytes"):
        render_body("{{#payload}}" + "y" * 10_000 + "{{/payload}}", TEXT, {"payload": Texts([1])})
    assert len(made) == BODY_LIMIT // 10_000 + 1


def test_a_long_list_takes_too_many_steps():
    with pytest.raises(Unrenderable, match="takes more than 20000 steps"):
        render_body("{{#payload}}x{{/payload}}", TEXT, {"payload": [1] * 20_001})


@pytest.mark.parametrize(
    ("template", "elements"), [("{{#payload}}x{{/payload}}", 19_999), ("{{#payload}}{{.}}{{/payload}}", 4_999)]
)
def test_a_rendering_of_20_000_steps_is_made(template, elements):
    """One step for the section, and for each element one for its piece, or four with a value that is looked up."""
    assert render_body(template, TEXT, {"payload": [1] * elements})
    with pytest.raises(Unrenderable, match="takes more than 20000 steps"):
        render_body(template, TEXT, {"payload": [1] * (elements + 1)})


@pytest.mark.parametrize(
    ("render", "longest"),
    [
        (lambda value: render_header("{{payload.v}}", {"payload": {"v": value}}), 1024),
        (lambda value: render_url("https://h/{{payload.v}}", {"payload": {"v": value}}), 2048 - len("https://h/")),
    ],
    ids=["header", "url"],
)
def test_what_is_made_may_be_as_long_as_what_is_given(render, longest):
    assert render("x" * longest).endswith("x" * longest)
    with pytest.raises(Unrenderable, match="more than"):
        render("x" * (longest + 1))


def test_an_index_has_seven_digits_at_most():
    context = {"payload": {"l": ["first"]}}
    assert render_body("{{payload.l.0000000}}", TEXT, context) == b"first"
    assert render_body("{{payload.l.00000000}}", TEXT, context) == b""


def test_a_huge_payload_is_not_sent_on():
    with pytest.raises(Unrenderable, match=f"has more than {BODY_LIMIT} bytes"):
        render_body("{{payload}}", JSON, {"payload": ["x" * BODY_LIMIT]})


def test_a_number_beyond_a_double_is_a_section_as_any_other():
    assert render_body("{{#payload}}x{{/payload}}", TEXT, {"payload": 10**400}) == b"x"


def test_a_body_of_1_mib_is_sent_and_one_byte_more_is_not():
    assert len(render_body("{{payload.v}}", TEXT, {"payload": {"v": "x" * 1_048_576}})) == 1_048_576
    with pytest.raises(Unrenderable, match="more than 1048576 bytes"):
        render_body("{{payload.v}}", TEXT, {"payload": {"v": "x" * 1_048_577}})


@pytest.mark.parametrize("template", ["x" * 16384, "{{#id}}" * 10 + "x" + "{{/id}}" * 10])
def test_a_template_as_long_or_as_deep_as_may_be_is_taken(template):
    check_template(template, "/t")
