"""A product of its own per transport, so that signals named as in Camunda's vectors meet nobody else's."""

from tests.integration.conftest import client, name, product, product_vhost, webhooks

__all__ = ["client", "name", "product", "product_vhost", "webhooks"]
