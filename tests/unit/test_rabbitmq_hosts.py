"""The transport URL with several hosts."""

from __future__ import annotations

import pytest

from broker.errors import ConfigurationError
from broker.transport.rabbitmq.link import split_hosts


def split(url):
    return [str(host) for host in split_hosts(url)]


def test_one_host_is_taken_as_it_is():
    assert split("amqp://u:p@one:5673/v") == ["amqp://u:p@one:5673/v"]


def test_hosts_share_everything_but_themselves():
    assert split("amqps://u:p%40@one:5673, two,[::1]:5674/v%2Fw?cafile=ca.pem") == [
        "amqps://u:p%40@one:5673/v%2Fw?cafile=ca.pem",
        "amqps://u:p%40@two/v%2Fw?cafile=ca.pem",
        "amqps://u:p%40@[::1]:5674/v%2Fw?cafile=ca.pem",
    ]


def test_options_need_no_path():
    assert split("amqps://u:p@one,two?cafile=/x/ca.pem") == [
        "amqps://u:p@one/?cafile=/x/ca.pem",
        "amqps://u:p@two/?cafile=/x/ca.pem",
    ]


def test_neither_credentials_nor_vhost_are_needed():
    assert split("amqp://one,two") == ["amqp://one", "amqp://two"]


def test_a_host_that_is_named_twice_is_one():
    """There would be no second one for the other link of a publisher."""
    assert len(split("amqp://one,ONE:5672,one:5672")) == 1


@pytest.mark.parametrize("url", ["amqp://", "amqp://one,,two", "http://one", "amqp://one:port", "one"])
def test_what_is_no_url_of_hosts_is_refused(url):
    with pytest.raises(ConfigurationError, match="transport URL"):
        split_hosts(url)
