"""``--app``: the handlers of a team, wherever it keeps them; and what is told when they are not there."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from broker.errors import ConfigurationError
from deploy.cli.handler_apps import load_apps
from deploy.cli.main import main

HANDLERS = """
from workers.handlers import Handlers
{name} = Handlers({app})

@{name}.on("order.paid")
async def book(payload):
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Call it to write a module into the current directory; what was imported from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(module, text=HANDLERS, **fields):
        path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**{"name": "handlers", "app": "", **fields}) if text is HANDLERS else text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_handlers_without_a_name_are_the_app_of_their_module(module):
    module("team_a.billing")
    module("team_a.shipping", name="these", app="'shipping'")
    apps = load_apps(["team_a.billing:handlers", "team_a.shipping:these", "team_a.billing:handlers"])
    assert {app: [handler.name for handler in handlers] for app, handlers in apps.items()} == {
        "team_a.billing": ["book"],
        "shipping": ["book"],
    }


BROKEN = "\n\n1 / 0\n"
UNNAMED = "from workers.handlers import Handlers\nhandlers = Handlers()\n"
WRONG = UNNAMED + "@handlers.on('a', retry=[-1])\ndef book(payload): ...\n"


@pytest.mark.parametrize(
    ("place", "text", "told"),
    [
        ("team_b", UNNAMED, "is not a module and a name in it, like shop.billing:handlers"),
        ("team_b.py:handlers()", UNNAMED, "is not a module and a name in it, like shop.billing:handlers"),
        ("team_b:", UNNAMED, "is not a module and a name in it, like shop.billing:handlers"),
        ("team_c:handlers", UNNAMED, "there is no module 'team_c'"),
        ("team_b.sub:handlers", UNNAMED, "there is no module 'team_b.sub'"),
        ("team_b:others", UNNAMED, "module 'team_b' has no attribute 'others'"),
        ("team_b:handlers", UNNAMED, "has no handlers"),
        ("team_b:handlers.on", UNNAMED, "is not `Handlers`, but method"),
        ("team_b:handlers", BROKEN, "cannot be imported: ZeroDivisionError: division by zero ("),
        ("team_b:handlers", "import team_c", "cannot be imported: ModuleNotFoundError: No module named 'team_c' ("),
        ("team_b:handlers", "def f(:", "cannot be imported: SyntaxError: "),
        ("team_b:handlers", WRONG, "handler team_b.book: retry.0: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_app_is_told_in_one_line(module, place, text, told):
    module("team_b", text)
    with pytest.raises(ConfigurationError) as raised:
        load_apps([place])
    assert told in str(raised.value)
    assert str(raised.value).startswith(f"--app {place.partition(':')[0]}")
    assert "\n" not in str(raised.value)


def test_what_is_wrong_in_a_module_is_told_with_its_line(module):
    module("team_b", BROKEN)
    with pytest.raises(ConfigurationError, match=r"team_b\.py, line 3\)$"):
        load_apps(["team_b:handlers"])


def test_two_apps_of_one_name_are_refused(module):
    module("team_a", app="'shop'")
    module("team_b", app="'shop'")
    with pytest.raises(ConfigurationError, match="there is an app 'shop' already"):
        load_apps(["team_a:handlers", "team_b:handlers"])


@pytest.mark.parametrize(
    "arguments", [["handlers"], ["recorder", "handlers"], ["recorder", "--app", "team_a:handlers"]]
)
def test_handlers_and_an_app_go_together(arguments):
    done = CliRunner().invoke(main, ["worker", *arguments])
    assert done.exit_code == 2
    assert "`handlers` and --app go together" in done.output
