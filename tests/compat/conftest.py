"""Products of its own, so that signals named as in Camunda's vectors meet no other test's."""

from tests.integration.conftest import (
    client,
    embedded_product,
    embedded_second_url,
    name,
    product,
    product_vhost,
    pytest_generate_tests,
    rabbitmq_product,
    rabbitmq_second_url,
    second_url,
    webhooks,
)

__all__ = [
    "client",
    "embedded_product",
    "embedded_second_url",
    "name",
    "product",
    "product_vhost",
    "pytest_generate_tests",
    "rabbitmq_product",
    "rabbitmq_second_url",
    "second_url",
    "webhooks",
]
