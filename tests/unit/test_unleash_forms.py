"""Forms are read as Express reads them: the expected payloads are what body-parser 1.20 with qs 6.16 made of them."""

from __future__ import annotations

import pytest

from gateway.http_errors import BadRequest, TooLarge
from gateway.unleash.forms import parse_form

FORMS = {
    "": {},
    "a=1&b=": {"a": "1", "b": ""},
    "a": {"a": ""},
    "=x&&": {},
    "a=b=c": {"a": "b=c"},
    "a=1&a=2": {"a": ["1", "2"]},
    "a[]=1": {"a": ["1"]},
    "a[]=1&a[]=2": {"a": ["1", "2"]},
    "a[][]=1": {"a": ["1"]},
    "a[1]=2&a[0]=1": {"a": ["1", "2"]},
    "a[0]=x&a[]=y": {"a": ["x", "y"]},
    "a[0]=1&a[0]=2": {"a": [["1", "2"]]},
    "a[b]=1": {"a": {"b": "1"}},
    "a[b][c]=1&a[b][d]=2": {"a": {"b": {"c": "1", "d": "2"}}},
    "a%5Bb%5d=c": {"a": {"b": "c"}},
    "i[0][n]=x&i[1][n]=y": {"i": [{"n": "x"}, {"n": "y"}]},
    "i[][n]=x&i[][p]=y": {"i": [{"n": "x", "p": "y"}]},
    "a[0]=1&a[b]=2": {"a": {"0": "1", "b": "2"}},
    "a[b]=1&a[]=2": {"a": {"b": "1", "0": "2"}},
    "a=1&a[]=2": {"a": ["1", "2"]},
    "a=1&a[b]=2": {"a": ["1", {"b": "2"}]},
    "a[b]=1&a=2": {"a": [{"b": "1"}, "2"]},
    "a[b]=1&a=": {"a": {"b": "1"}},
    "a[01]=x&b[-1]=y": {"a": {"01": "x"}, "b": {"-1": "y"}},
    "a[99]=x": {"a": ["x"]},
    "a[100]=x": {"a": {"100": "x"}},
    "a[99999999999999999999]=x": {"a": {"99999999999999999999": "x"}},
    "[]=a&[]=b": {"0": "a", "1": "b"},
    "[a]=b": {"a": "b"},
    "a[b=c": {"a": {"[b": "c"}},
    "a]b=c": {"a]b": "c"},
    "a[b]c=d": {"a": {"b": "d"}},
    "a[[b]]=c": {"a": {"[b]": "c"}},
    "a[b=c]=d": {"a": {"b=c": "d"}},
    "a+b=c+d%20e%2B": {"a b": "c d e+"},
    "a=%C3%A4%00": {"a": "ä\0"},
    "a=%zz%20": {"a": "%zz%20"},
    "a=%ff": {"a": "%ff"},
    "__proto__=1&a[__proto__]=2&hasOwnProperty=3": {"a": {}, "hasOwnProperty": "3"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_read_as_express_reads_it(form):
    assert parse_form(form).payload == FORMS[form]


def test_percent_encoded_bytes_are_in_the_forms_charset():
    assert parse_form("a=%e4%zz", "iso-8859-1").payload == {"a": "ä%zz"}


def test_more_indexes_make_a_list_where_there_are_more_parameters():
    many = "&".join(f"a[{index}]={index}" for index in range(500))

    assert parse_form(many).payload == {"a": [str(index) for index in range(500)]}


def test_a_thousand_parameters_pass_and_one_more_does_not():
    assert len(parse_form("a[]=1" + "&a[]=1" * 999).payload["a"]) == 1000
    with pytest.raises(TooLarge, match="too many parameters"):
        parse_form("&" * 1000)


def test_thirty_two_brackets_pass_and_one_more_does_not():
    value = parse_form("a" + "[b]" * 32 + "=1").payload["a"]
    for _ in range(32):
        value = value["b"]
    assert value == "1"
    with pytest.raises(BadRequest, match="The input exceeded the depth"):
        parse_form("a" + "[b]" * 33 + "=1")


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("a=1&b[c]=2&d[e][]=3&f]g=4&h[i=5&j[[k]l]=6&[]=7&&=", 0),
        ("=1", 1),
        ("__proto__[x]=1&a[__proto__]=2", 2),
        ("a[b]c=1&a[b]c[d]=2&a=3", 2),
        ("a%5Bb%5Dc=1", 1),
    ],
)
def test_what_of_a_form_is_lost_is_counted(form, lost):
    assert parse_form(form).lost == lost
