"""``reseal``: seals secrets at rest, with the first key of the ring."""

from __future__ import annotations

import click

from broker.store.subscriptions.sealing import SealingStore
from deploy.cli.admin import Admin, with_store
from deploy.cli.backends import open_secrets
from deploy.cli.output import as_json, example, show_one


@click.command(epilog=example("SIGNAL_BROKER_SECRET_KEYS=new,old signal-broker reseal"))
@as_json
@with_store
async def reseal(admin: Admin, *, as_json: bool) -> None:
    """Seal all secrets in the store with the first of SIGNAL_BROKER_SECRET_KEYS.

    Run it after the upgrade to this version, once no process of an earlier version runs any more: from then on,
    credentials in the URLs and headers of webhooks are sealed, too. Run it again to complete a rotation of the keys. It
    may be interrupted and repeated.
    """
    count = await SealingStore(admin.database).reseal(open_secrets(admin.settings))
    show_one({"subscriptions": count}, "subscriptions", as_json=as_json)
