"""Signing in with a password: once it was right it costs nothing, and no flood of wrong ones keeps a user out."""

import asyncio
import threading
from contextlib import nullcontext, suppress

import pytest

from broker.users import Lockout, hash_password
from gateway import passwords as module
from gateway.callers import network_of
from gateway.guesses import BURST, DISTRUSTED_SECONDS, FAILED_SECONDS, MOST_GUESSES, FailureBudgets
from gateway.http_errors import Busy, TooMany
from gateway.passwords import MOST_WAITING, REMEMBERED_SECONDS
from tests.support.eventually import eventually
from tests.unit.test_users import KEPT, PASSWORD, user


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


HERE, ELSEWHERE = "192.0.2.1", "198.51.100.1"


class Passwords(module.Passwords):
    """Signs in from here, unless a test says from where."""

    async def sign_in(self, name, password, address=HERE):
        return await super().sign_in(name, password, address)


class Users:
    """The cache's answers, as data."""

    def __init__(self, *users):
        self.known = {user.name: user for user in users}

    async def user(self, name):
        return self.known.get(name)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def checks(monkeypatch):
    """The passwords that argon2 had to check; what stands in its address costs nothing."""
    checked = []

    def counted(password, kept):
        checked.append(password)
        return (password, kept) == (PASSWORD, KEPT)

    monkeypatch.setattr(module, "is_password", counted)
    return checked


class Gate:
    """Holds up argon2, or what stands in its address, until it is opened; everything is right then."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()
        self.checks = []

    def __call__(self, password, _kept):
        self.checks.append(password)
        self.reached.set()
        assert self.opened.wait(5)
        return True


@pytest.fixture
def strangers(monkeypatch):
    """Holds up the checks of names that nobody has, until it is set."""
    opened = threading.Event()

    def held(password, kept):
        return (password, kept) == (PASSWORD, KEPT) or not opened.wait(5)

    monkeypatch.setattr(module, "is_password", held)
    return opened


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(module, "is_password", gate)
    return gate


# Brute force


def test_a_name_is_locked_for_3_seconds_and_twice_as_long_every_time_but_at_most_60(clock):
    lockout = Lockout(clock=clock)
    pauses = []
    for _ in range(7):
        pauses.append(lockout.fail("demo").total_seconds())
        clock.now += pauses[-1] - 0.1
        assert lockout.is_locked("demo")
        clock.now += 0.2
        assert not lockout.is_locked("demo")
    assert pauses == [3, 6, 12, 24, 48, 60, 60]


def test_a_lock_ends_at_its_moment(clock):
    lockout = Lockout(clock=clock)
    clock.now = 0
    lockout.fail("demo")
    clock.now = 3
    assert not lockout.is_locked("demo")


def test_twenty_thousand_names_are_kept(clock):
    lockout = Lockout(clock=clock)
    for number in range(20_000):
        lockout.fail(f"user {number}")
    assert lockout.is_locked("user 0")
    lockout.fail("one more")
    assert not lockout.is_locked("user 0")
    assert lockout.is_locked("user 1")


def test_success_forgives(clock):
    lockout = Lockout(clock=clock)
    lockout.fail("demo")
    lockout.forgive("demo")
    assert not lockout.is_locked("demo")
    assert lockout.fail("demo").total_seconds() == 3


def test_names_are_locked_on_their_own_and_only_so_many_are_kept(clock):
    lockout = Lockout(clock=clock, size=2)
    for name in ("a", "b", "c"):
        lockout.fail(name)
    assert [lockout.is_locked(name) for name in ("a", "b", "c", "d")] == [False, True, True, False]


# Signing in


async def test_only_the_right_password_signs_in(clock):
    passwords = Passwords(Users(user()), clock=clock)
    assert (await passwords.sign_in("demo", PASSWORD)).name == "demo"
    assert await passwords.sign_in("Demo", PASSWORD) is None
    assert await passwords.sign_in("demo", "wrong horse") is None


async def test_a_right_password_costs_argon2_once_as_long_as_it_is_used(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    for _ in range(3):
        assert await passwords.sign_in("demo", PASSWORD)
        clock.now += REMEMBERED_SECONDS - 1
    assert len(checks) == 1

    clock.now += 1
    assert await passwords.sign_in("demo", PASSWORD)
    assert len(checks) == 2


async def test_requests_that_come_at_once_share_one_check(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    assert all(await asyncio.gather(*(passwords.sign_in("demo", PASSWORD) for _ in range(1000))))
    assert len(checks) == 1


async def test_a_request_that_goes_away_does_not_take_the_others_with_it(clock, gate):
    passwords = Passwords(Users(user()), clock=clock)
    first, second = (asyncio.create_task(passwords.sign_in("demo", PASSWORD)) for _ in range(2))
    await eventually(gate.reached.is_set)
    first.cancel()
    await asyncio.wait([first])
    gate.opened.set()
    assert (await second).name == "demo"


async def test_what_is_remembered_is_of_no_use_once_the_password_is_another(clock, checks):
    users = Users(user())
    passwords = Passwords(users, clock=clock)
    assert await passwords.sign_in("demo", PASSWORD)

    users.known["demo"] = user(password=hash_password("other horse"))
    assert await passwords.sign_in("demo", PASSWORD) is None
    users.known.clear()
    clock.now += 10
    assert await passwords.sign_in("demo", PASSWORD) is None


async def test_a_user_that_does_not_exist_costs_what_a_wrong_password_costs(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("nobody", PASSWORD) is None
    assert await passwords.sign_in("demo", "wrong horse") is None
    assert checks == [PASSWORD, "wrong horse"]


async def test_after_a_failure_even_the_right_password_has_to_wait_and_costs_nothing(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("demo", "wrong horse") is None
    assert await passwords.sign_in("demo", PASSWORD) is None
    assert await passwords.sign_in("demo", "wrong again") is None
    assert checks == ["wrong horse"]

    clock.now += 4
    assert await passwords.sign_in("demo", PASSWORD)


async def test_guesses_from_elsewhere_keep_no_user_out_and_are_not_compared_with_what_is_remembered(clock, checks):
    """Else they could go on against the memory, at no cost."""
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("demo", PASSWORD)
    for number in range(100):
        assert await passwords.sign_in("demo", f"guess {number:03}", f"address {number}") is None
        assert await passwords.sign_in("demo", PASSWORD)
    assert await passwords.sign_in("demo", PASSWORD, ELSEWHERE) is None, "it is locked there"
    assert len(checks) == 2
    clock.now += REMEMBERED_SECONDS
    await passwords.sign_in("demo", "wrong horse", ELSEWHERE)
    assert await passwords.sign_in("demo", PASSWORD), "it is not locked here, though nothing is remembered any more"


async def test_wrong_passwords_from_the_same_address_keep_out_no_user_who_signed_in_lately(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("demo", PASSWORD)
    for number in range(500):
        with pytest.raises(TooMany) if number >= BURST else nullcontext():
            assert await passwords.sign_in("demo", f"guess {number:03}") is None
        assert await passwords.sign_in("demo", PASSWORD)
    assert len(checks) == 2


async def test_guesses_at_one_name_take_no_turns_from_others(clock, checks):
    """They come at once, from the address of both, where both signed in before."""
    passwords = Passwords(Users(user("a"), user("b")), clock=clock)
    for name in "ab":
        assert await passwords.sign_in(name, PASSWORD)
    clock.now += REMEMBERED_SECONDS
    guesses = (passwords.sign_in("a", f"guess {number:04}") for number in range(1000))
    flood = asyncio.gather(*guesses, return_exceptions=True)
    await asyncio.sleep(0)
    assert await passwords.sign_in("b", PASSWORD)
    answers = await flood
    assert {type(answer) for answer in answers} == {type(None), TooMany}
    assert sum(answer is None for answer in answers) == BURST


async def test_so_many_guesses_from_the_same_address_end_the_trust_for_an_hour(clock):
    """Else passwords could be guessed as fast as requests come, where a user signs in."""
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("demo", PASSWORD)
    for number in range(MOST_GUESSES):
        with suppress(TooMany):
            assert await passwords.sign_in("demo", f"guess {number:03}") is None
    with pytest.raises(TooMany):
        await passwords.sign_in("demo", PASSWORD)
    clock.now += DISTRUSTED_SECONDS
    assert await passwords.sign_in("demo", PASSWORD)


async def test_an_address_may_fail_only_so_often_and_is_told_when_to_come_again(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    for number in range(BURST):
        assert await passwords.sign_in(f"nobody {number}", PASSWORD) is None
    with pytest.raises(TooMany) as caught:
        await passwords.sign_in("another", PASSWORD)
    assert caught.value.headers["Retry-After"] == "1"
    assert len(checks) == BURST
    assert await passwords.sign_in("demo", PASSWORD, ELSEWHERE)
    with pytest.raises(TooMany):
        await passwords.sign_in("demo", PASSWORD)
    clock.now += 1
    assert await passwords.sign_in("demo", PASSWORD)


async def test_who_signed_in_from_an_address_before_needs_nothing_of_its_budget(clock, strangers):
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("demo", PASSWORD)
    clock.now += REMEMBERED_SECONDS
    names = [f"nobody {number}" for number in range(1000)]
    flood = asyncio.gather(*(passwords.sign_in(name, PASSWORD) for name in names), return_exceptions=True)
    await asyncio.sleep(0)
    assert await passwords.sign_in("demo", PASSWORD), "it waits behind no stranger"
    strangers.set()
    answers = await flood
    assert sum(isinstance(answer, TooMany) for answer in answers) == 1000 - BURST
    assert sum(answer is None for answer in answers) == BURST


async def test_success_costs_an_address_nothing(clock, checks):
    users = [user(f"user {number}") for number in range(2 * BURST)]
    passwords = Passwords(Users(*users), clock=clock)
    assert all([await passwords.sign_in(one.name, PASSWORD) for one in users])


async def test_a_flood_from_many_addresses_leaves_trusted_names_their_turns(clock, strangers):
    passwords = Passwords(Users(user()), clock=clock)
    assert await passwords.sign_in("demo", PASSWORD)
    clock.now += REMEMBERED_SECONDS
    flood = asyncio.gather(
        *(passwords.sign_in(f"nobody {number}", PASSWORD, f"address {number}") for number in range(2 * MOST_WAITING)),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    assert await passwords.sign_in("demo", PASSWORD)
    strangers.set()
    assert sum(isinstance(answer, Busy) for answer in await flood) == MOST_WAITING - 1


async def test_an_address_without_failures_goes_before_those_that_have_failed_and_takes_the_place_of_one(clock, gate):
    passwords = Passwords(Users(user()), clock=clock)
    flooders = [f"address {number}" for number in range(MOST_WAITING + 1)]
    gate.opened.set()
    for number, address in enumerate(flooders):
        assert await passwords.sign_in(f"nobody {number}", PASSWORD, address) is None
    clock.now += FAILED_SECONDS - 1
    gate.opened.clear()
    gate.reached.clear()
    flood = [
        asyncio.ensure_future(passwords.sign_in(f"nobody {number} {turn}", f"guess {number:03}", address))
        for turn in range(4)
        for number, address in enumerate(flooders)
    ]
    await eventually(gate.reached.is_set)
    signing_in = asyncio.create_task(passwords.sign_in("demo", PASSWORD))
    await asyncio.sleep(0)
    gate.opened.set()
    assert await signing_in
    assert PASSWORD in gate.checks[len(flooders) :][:2], "after the one under way"
    busy = sum(isinstance(answer, Busy) for answer in await asyncio.gather(*flood, return_exceptions=True))
    assert busy == len(flood) - MOST_WAITING, "all but the one under way and those that wait behind the new one"


def test_only_so_many_addresses_are_remembered_and_a_budget_fills_again(clock):
    budgets = FailureBudgets(clock=clock, size=2)
    assert [budgets.take("a") for _ in range(BURST + 2)] == [0] * BURST + [1, 1]
    clock.now += 1
    assert [budgets.take("a") for _ in range(3)] == [0, 0, 1]
    budgets.take("b")
    budgets.take("c")
    assert budgets.take("a") == 0


async def test_a_right_password_makes_wrong_ones_forgotten(clock):
    """Whether it is checked or remembered: the second time round it is remembered."""
    passwords = Passwords(Users(user()), clock=clock)
    for _ in range(2):
        assert await passwords.sign_in("demo", "wrong horse") is None
        clock.now += 4
        assert await passwords.sign_in("demo", PASSWORD)


async def test_guesses_that_come_at_once_are_not_all_tried(clock, checks):
    passwords = Passwords(Users(user()), clock=clock)
    guesses = [passwords.sign_in("demo", f"guess {number:03}", f"address {number}") for number in range(50)]
    assert not any(await asyncio.gather(*guesses))
    assert len(checks) <= 2


async def test_names_that_nobody_can_have_are_refused_at_once(clock, checks):
    passwords = Passwords(Users(), clock=clock)
    assert [await passwords.sign_in(name, PASSWORD) for name in ("", "a\x00", "x" * 256)] == [None] * 3
    assert checks == []


async def test_only_so_many_passwords_wait_and_the_others_are_told_so(clock, checks):
    passwords = Passwords(Users(), clock=clock)
    answers = await asyncio.gather(
        *(passwords.sign_in(f"nobody {n}", PASSWORD, f"address {n}") for n in range(MOST_WAITING + 5)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Busy) for answer in answers) == 4
    assert len(checks) == MOST_WAITING + 1


async def test_checking_does_not_hold_up_the_event_loop(clock, gate):
    """The check goes on until the event loop, which must be free for that, lets it end."""
    signing_in = asyncio.create_task(Passwords(Users(user()), clock=clock).sign_in("demo", PASSWORD))
    await eventually(gate.reached.is_set)
    gate.opened.set()
    assert await signing_in


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        (None, ""),
        ("/run/broker.sock", "/run/broker.sock"),
    ],
)
def test_budgets_are_for_an_address_or_a_network_that_one_caller_may_have_whole(address, network):
    assert network_of(address) == network
