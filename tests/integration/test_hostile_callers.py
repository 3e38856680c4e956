"""What callers may send, in their hundreds, to the running product; `make fuzz` goes on from here."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.callers import Caller
from tests.fuzz.description import compare
from tests.fuzz.requests import ask, is_failure, requests, routes
from tests.fuzz.states import Api
from tests.support.product import ADMIN_TOKEN

pytestmark = pytest.mark.slow


def test_no_raw_request_is_a_failure_or_takes_long(own_product):
    with Caller(own_product.url, ADMIN_TOKEN) as caller:
        for request in islice(requests(routes(caller), caller.token, random.Random(1)), 400):
            status, body = ask(caller.address, request)
            assert not is_failure(request, status, body), (request, status, body)


def test_the_api_in_any_order_fails_nowhere_and_the_books_balance(own_product):
    few = settings(
        max_examples=4,
        stateful_step_count=25,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with Caller(own_product.url, ADMIN_TOKEN) as Api.caller:
        run_state_machine_as_test(Api, settings=few)
        assert Api.caller.count > 100


@pytest.mark.timeout(300)
def test_the_gateway_does_what_its_document_says(own_product, tmp_path):
    verdict = compare(own_product.url, ADMIN_TOKEN, tmp_path, "-n", "1", "--phases", "fuzzing", "--seed", "1")
    assert verdict.passed, verdict.report[-10_000:]
    assert verdict.cases > 60


def test_a_host_that_is_none_is_no_failure(own_product):
    with Caller(own_product.url, ADMIN_TOKEN) as caller:
        for host in ("a:99999", "[::1]:1@", "[::", "x@[y"):
            assert caller.send("GET", "/v2/topology", Host=host).status < 500
