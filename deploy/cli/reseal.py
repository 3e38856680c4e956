"""``reseal``: seals secrets at rest, with the first key of the ring."""

from __future__ import annotations

import click

from broker.errors import SecretUnreadable
from broker.store.subscriptions.sealing import Resealed, SealingStore
from deploy.cli.admin import Admin, with_store
from deploy.cli.backends import open_secrets
from deploy.cli.findings import enumerate_some
from deploy.cli.output import as_json, example, show_one


@click.command(epilog=example("SIGNAL_BROKER_SECRET_KEYS=new,old signal-broker reseal"))
@as_json
@with_store
async def reseal(admin: Admin, *, as_json: bool) -> None:
    """Seal all secrets in the store with the first of SIGNAL_BROKER_SECRET_KEYS.

    Run it after the upgrade to this version, once no process of an earlier version runs any more: from then on,
    credentials in the URLs and headers of webhooks are sealed, too. Run it again to complete a rotation of the keys. It
    may be interrupted and repeated. It ends with status 1 if there is anything that none of the keys opens.
    """
    done = await SealingStore(admin.database).reseal(open_secrets(admin.settings))
    unreadable = {
        "unreadableSecrets": done.secrets,
        "unreadableTargets": done.targets,
        "unreadableWebhookKeys": done.keys,
    }
    show_one({"subscriptions": done.subscriptions, **unreadable}, "subscriptions", as_json=as_json)
    if not done.complete:
        raise SecretUnreadable(_explain(done))


def _explain(done: Resealed) -> str:
    """Return which secrets no key opens, and what to do about each kind."""
    cures = []
    if done.secrets:
        cures.append(f"`signal-broker subscriptions rotate-secret ID` for the secret of {enumerate_some(done.secrets)}")
    if done.targets:
        cures.append(
            f"`signal-broker subscriptions edit ID` for the URL and the headers of {enumerate_some(done.targets)}"
        )
    if done.keys:
        cures.append(f"`POST /v1/webhook-keys/rotate` for the webhook key {enumerate_some(done.keys)}")
    return (
        "no key in SIGNAL_BROKER_SECRET_KEYS opens some of the secrets, and the others are sealed with the first one."
        " Append the key that is missing and run this again, or if it is lost, make new secrets:"
        f" {', '.join(cures)}"
    )
