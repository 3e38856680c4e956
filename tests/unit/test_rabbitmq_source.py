"""Where the tests' RabbitMQ comes from."""

from __future__ import annotations

import gc

import pytest

from tests.support.rabbitmq import Source, choose, docker_answers


@pytest.mark.parametrize(
    ("given", "local", "docker", "apt", "source"),
    [
        (True, True, True, True, Source.GIVEN),
        (True, False, False, False, Source.GIVEN),
        (False, True, True, True, Source.LOCAL),
        (False, True, False, False, Source.LOCAL),
        (False, False, True, True, Source.DOCKER),
        (False, False, True, False, Source.DOCKER),
        (False, False, False, True, Source.APT),
    ],
)
def test_the_first_source_that_can_be_had_is_taken(given, local, docker, apt, source):
    assert choose(given=given, local=local, docker=docker, apt=apt) is source


def test_without_any_source_the_error_says_what_to_install():
    with pytest.raises(
        RuntimeError, match=r"install rabbitmq-server .* Docker, or set SIGNAL_BROKER_TEST_TRANSPORT_URL"
    ):
        choose(given=False, local=False, docker=False, apt=False)


@pytest.mark.slow
def test_asking_for_docker_leaves_nothing_behind():
    """Warnings are errors here: a socket left to the garbage collector would fail whatever test comes next."""
    docker_answers()
    gc.collect()
