"""What ``doctor`` finds around the product: the key ring, the clock, names, and what webhooks may reach."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

import aiohttp
from yarl import URL

from broker.egress import Guard
from broker.errors import ConfigurationError
from broker.moments import show_moment
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.postgres.clock import read_clock
from broker.store.postgres.database import Database
from broker.store.subscriptions.listing import list_hosts
from broker.store.subscriptions.sealing import SealingStore
from deploy.cli.backends import EMBEDDED, allow_loopback
from deploy.cli.checkup import Check, one
from deploy.cli.findings import Finding, enumerate_some
from gateway.oidc.keys import IssuerKeys, IssuerUnavailable
from workers.webhooks.dialing import trust

_SECRETS = 20_000
"""How many subscriptions' secrets are tried to be opened."""
_HOSTS = 100
"""How many hosts of webhooks are looked up."""
_LOOKUP_SECONDS = 5.0
"""How long all of them may take, which are looked up at once."""
_PROXY_SECONDS = 2.0
_SKEW = timedelta(seconds=2)
_INTOLERABLE = timedelta(minutes=5)
"""Receivers refuse webhooks whose time is further off (Standard Webhooks)."""
_HOST = re.compile(r"(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]+)")


def checks_of_surroundings(settings: Settings, database: Database, box: SecretBox) -> list[Check]:
    """Return a check of each; they take some seconds at most, whatever does not answer."""
    if settings.store_url == EMBEDDED:
        settings = allow_loopback(settings)  # as `signal-broker run` does
    return [
        ("keys", one(_judge_ring, SealingStore(database), box)),
        ("clock", one(_judge_clock, database)),
        ("egress", one(_judge_egress, settings)),
        ("issuer", _examine_issuer(settings)),
        ("dns", _examine_names(settings, database)),
    ]


async def _judge_ring(store: SealingStore, box: SecretBox) -> Finding:
    ring = await store.try_ring(box, most=_SECRETS)
    rest = "" if ring.complete else f" of the first {_SECRETS} subscriptions"
    if not ring.sealed_at:
        return Finding("ok", "keys", f"the key ring opens all {ring.opened} secrets{rest}")
    began, ended = show_moment(min(ring.sealed_at)), show_moment(max(ring.sealed_at))
    whose = [f"subscriptions {enumerate_some(ring.subscriptions)}"] if ring.subscriptions else []
    whose += [f"webhook keys {enumerate_some(ring.keys)}"] if ring.keys else []
    return Finding(
        "fail",
        "keys",
        f"no key of the ring opens {len(ring.sealed_at)} of {ring.opened + len(ring.sealed_at)} secrets{rest}"
        f" ({'; '.join(whose)}). The missing key sealed them from {began} to {ended}: append it to"
        " SIGNAL_BROKER_SECRET_KEYS of every process, restart them, and run `signal-broker reseal`. If it is lost, make"
        " new secrets: `signal-broker subscriptions rotate-secret ID`, `signal-broker subscriptions edit ID` for URLs"
        " and headers, and `POST /v1/webhook-keys/rotate` for webhook keys",
    )


async def _judge_clock(database: Database) -> Finding:
    fastest, skew = float("inf"), timedelta()
    for _ in range(3):
        began, asked = time.time(), time.monotonic()
        theirs = await read_clock(database)
        took = time.monotonic() - asked
        if took < fastest:
            fastest, skew = took, theirs - datetime.fromtimestamp(began + took / 2, theirs.tzinfo)
    return judge_skew(skew)


def judge_skew(skew: timedelta) -> Finding:
    """Return what it means that PostgreSQL's clock is ahead of this machine's by *skew* (behind, if negative)."""
    seconds = f"{abs(skew).total_seconds():.{0 if abs(skew) > _SKEW else 3}f} s"
    if abs(skew) <= _SKEW:
        return Finding("ok", "clock", f"differs from PostgreSQL's by {seconds}")
    return Finding(
        "fail" if abs(skew) >= _INTOLERABLE else "warn",
        "clock",
        f"is {seconds} {'behind' if skew > timedelta() else 'ahead of'} PostgreSQL's: tokens of an issuer expire"
        " too late or too early, and receivers refuse webhooks whose time is minutes off. Let NTP set both clocks:"
        " compare `timedatectl` on each machine",
    )


async def _examine_issuer(settings: Settings) -> AsyncIterator[Finding]:
    """Ask the issuer in the *settings*, if there is one, for its keys, as a gateway does."""
    if not settings.oidc_issuer:
        return
    async with IssuerKeys(settings.oidc_issuer, settings.oidc_jwks_url, renewed=False) as keys:
        try:
            _, found = await keys.fetch()
        except IssuerUnavailable as error:
            yield Finding(
                "fail",
                "issuer",
                f"{settings.oidc_issuer} does not answer with its keys ({error}), so callers with its tokens get 503:"
                f" see `curl {settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration` from a gateway, whose"
                " network policy may keep it from there; or correct SIGNAL_BROKER_OIDC_ISSUER",
            )
            return
    ids = {key_id for key_id, _ in found}
    if ids:
        yield Finding("ok", "issuer", f"{settings.oidc_issuer} answers with {len(ids)} keys")
    else:
        yield Finding(
            "fail",
            "issuer",
            f"{settings.oidc_issuer} has no key that tokens may be signed with, so none of its tokens is good: see"
            " `jwks_uri` of its discovery document, and docs/access.md for the algorithms",
        )


async def _judge_egress(settings: Settings) -> Finding:
    allowed = ", ".join(["public addresses", *map(str, settings.egress_allow)])
    schemes = " by https:// only" if settings.egress_https_only else ""
    where = f"webhooks may reach {allowed}{schemes} (SIGNAL_BROKER_EGRESS_ALLOW)"
    try:
        trust(settings.egress_ca_file)
    except ConfigurationError as error:
        return Finding("fail", "egress", f"{error}: correct it for gateways and deliverers (`signal-broker worker`)")
    if settings.egress_proxy is None:
        return Finding("ok", "egress", where)
    proxy = URL(settings.egress_proxy.get_secret_value())
    named = f"the proxy {proxy.host}:{proxy.port}"
    try:
        async with asyncio.timeout(_PROXY_SECONDS):
            _, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.close()
    except OSError as error:  # TimeoutError is one
        reason = error.strerror or f"no connection within {_PROXY_SECONDS:g} s"
        return Finding(
            "fail",
            "egress",
            f"{named} cannot be reached ({reason}), so no webhook goes out: start it, or correct"
            f" SIGNAL_BROKER_EGRESS_PROXY; try it with `curl -x http://{proxy.host}:{proxy.port} https://example.com`",
        )
    return Finding("ok", "egress", f"webhooks go through {named}, which decides what they reach besides; {where}")


async def _examine_names(settings: Settings, database: Database) -> AsyncIterator[Finding]:
    """Look up the hosts in *settings*, and those of webhooks unless a proxy does that."""
    hosts = await list_hosts(database, limit=_HOSTS + 1)
    configured = _configured_hosts(settings)
    of_webhooks = [] if settings.egress_proxy else [host.strip("[]") for host in hosts[:_HOSTS]]
    found = await _look_up(sorted({*configured, *of_webhooks}))
    bad = [host for host in configured if not found[host]]
    if bad:
        yield Finding(
            "fail",
            "dns",
            f"no address for {enumerate_some(bad)}, which the settings name: see `getent hosts NAME`, and correct the"
            " setting or the name server (/etc/resolv.conf)",
        )
    bad = [host for host in of_webhooks if not found[host] and host not in configured]
    if bad:
        yield Finding(
            "warn",
            "dns",
            f"no address for {enumerate_some(bad)}, where webhooks go: see `getent hosts NAME`, and"
            " `signal-broker subscriptions list --host NAME` for whose they are",
        )
    elif all(map(found.get, configured)):
        beyond = f" (the first {_HOSTS} of webhooks)" if len(hosts) > _HOSTS and of_webhooks else ""
        left = "; those of webhooks are up to the proxy" if settings.egress_proxy else ""
        yield Finding("ok", "dns", f"{len(found)} hosts have addresses{beyond}{left}")
    guard = Guard(settings.egress_allow)
    closed = [
        f"{host} ({found[host][0]})"
        for host in of_webhooks
        if found[host] and not any(guard.permits(ip_address(address)) for address in found[host])
    ]
    if closed:
        yield Finding(
            "warn",
            "egress",
            f"webhooks may not reach {enumerate_some(closed)}: add the network to SIGNAL_BROKER_EGRESS_ALLOW of every"
            " gateway and deliverer, if that is meant, and restart them; `signal-broker subscriptions list --host NAME`"
            " shows whose they are",
        )


def _configured_hosts(settings: Settings) -> list[str]:
    """Return the hosts that the settings name, without PostgreSQL's, which has just answered."""
    urls = [settings.management_url, settings.oidc_issuer, settings.oidc_jwks_url]
    if settings.egress_proxy is not None:
        urls.append(settings.egress_proxy.get_secret_value())
    if settings.transport_url != EMBEDDED:
        urls += settings.transport_url.split(",")
    found = [_HOST.match(url.rpartition("://")[2]) for url in urls if url]
    return sorted({match[1].strip("[]").lower() for match in found if match})


async def _look_up(hosts: Sequence[str]) -> dict[str, list[str]]:
    """Return the addresses of each of *hosts*: none if it has none, or they did not come in time."""
    resolver = aiohttp.AsyncResolver(timeout=1, tries=2)  # as webhooks are looked up: without threads
    try:
        lookups = {host: asyncio.create_task(_addresses(resolver, host)) for host in hosts}
        if lookups:
            await asyncio.wait(lookups.values(), timeout=_LOOKUP_SECONDS)
        for lookup in lookups.values():
            lookup.cancel()
        await asyncio.gather(*lookups.values(), return_exceptions=True)
    finally:
        await resolver.close()
    return {host: [] if lookup.cancelled() else lookup.result() for host, lookup in lookups.items()}


async def _addresses(resolver: aiohttp.AsyncResolver, host: str) -> list[str]:
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    try:
        return [entry["host"] for entry in await resolver.resolve(host)]
    except OSError:
        return []
