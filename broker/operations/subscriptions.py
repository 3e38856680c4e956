"""Creating subscriptions."""

from __future__ import annotations

from collections.abc import Callable

from broker.secrets import make_secret
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription, SubscriptionSpec


async def create_subscription(
    subscriptions: SubscriptionStore, spec: SubscriptionSpec, *, seal: Callable[[str], bytes]
) -> tuple[Subscription, str | None]:
    """Create the subscription of *spec*; return it and its new signing secret, if it delivers to a webhook.

    The secret is shown this once: what *seal* makes of it is stored.
    """
    secret = make_secret() if spec.is_signed else None
    subscription = await subscriptions.create(spec, secret=None if secret is None else seal(secret))
    return subscription, secret
