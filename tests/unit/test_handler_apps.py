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
        path = tmp_path / module if "/" in module else tmp_path.joinpath(*module.split(".")).with_suffix(".py")
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


A_PLACE = "a module or a file and a name in it, like shop.billing:handlers or shop/billing.py:handlers"
BROKEN = "\n\n1 / 0\n"
UNNAMED = "from workers.handlers import Handlers\nhandlers = Handlers()\n"
WRONG = UNNAMED + "@handlers.on('a', retry=[-1])\ndef book(payload): ...\n"


@pytest.mark.parametrize(
    ("place", "text", "told"),
    [
        ("team_b", UNNAMED, f"is not {A_PLACE}"),
        ("team_b.py", UNNAMED, f"is not {A_PLACE}"),
        ("team_b.py:handlers()", UNNAMED, f"is not {A_PLACE}"),
        ("team-b:handlers", UNNAMED, f"is not {A_PLACE}"),
        ("team_b:", UNNAMED, f"is not {A_PLACE}"),
        ("team_c:handlers", UNNAMED, "there is no module 'team_c'"),
        ("team_b.sub:handlers", UNNAMED, "there is no module 'team_b.sub'"),
        ("team_b:others", UNNAMED, "there is no 'others' in team_b"),
        ("team_b:handlers", UNNAMED, "has no handlers"),
        ("team_b:handlers.on", UNNAMED, "is not `Handlers`, but method"),
        ("team_b:handlers", BROKEN, "cannot be imported: ZeroDivisionError: division by zero ("),
        ("team_b:handlers", "import team_c", "cannot be imported: ModuleNotFoundError: No module named 'team_c' ("),
        ("team_b:handlers", "def f(:", "cannot be imported: SyntaxError: invalid syntax ("),
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BROKEN, "cannot be imported: ZeroDivisionError: division by zero ({file}, line 3)"),
        ("\ndef f(:", "cannot be imported: SyntaxError: invalid syntax ({file}, line 2)"),
        ("\0", "cannot be imported: SyntaxError: source code string cannot contain null bytes"),
        ("import team_c", "cannot be imported: ModuleNotFoundError: No module named 'team_c' ({file}, line 1)"),
        (
            "import workers.models",
            "No module named 'workers.models'; 'workers' is signal-broker's own here ({file}, line 1)",
        ),
        ("import json\n\njson.loads('')", "cannot be imported: JSONDecodeError: Expecting value"),
        ("import json\n\njson.loads('')", " ({file}, line 3)"),
        ("raise SystemExit(0)", "cannot be imported: SystemExit: 0 ({file}, line 1)"),
        ("raise ValueError('one\\ntwo')", "cannot be imported: ValueError: one two ({file}, line 1)"),
        (WRONG, "billing.book: retry.0: Input should be greater than or equal to 0 ({file}, line 3)"),
        ("from workers.handlers import Handlers\nHandlers('a b')", "the app's name 'a b' is not 1 to 100 of"),
        ("", "there is no 'handlers' in workers/billing.py"),
        ("handlers = []", "is not `Handlers`, but list"),
        (UNNAMED, "has no handlers"),
        (HANDLERS.format(name="handlers", app=""), "workers/billing.py should say Handlers('billing')"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(module, tmp_path, text, told):
    module("workers/billing.py", text)
    with pytest.raises(ConfigurationError) as raised:
        load_apps(["workers/billing.py:handlers"])
    assert str(raised.value).startswith("--app workers/billing.py")
    assert told.format(file=tmp_path / "workers" / "billing.py") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_wrong_is_read_again(module):
    """Nothing is left of a failed import, as with any other."""
    module("workers/billing.py", BROKEN)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
            load_apps(["workers/billing.py:handlers"])


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("workers/shipping.py:handlers", "--app workers/shipping.py: there is no file {folder}/workers/shipping.py"),
        ("shipping.py:handlers", "--app shipping.py: there is no file {folder}/shipping.py"),
        ("workers/:handlers", "--app workers: there is no file {folder}/workers"),
        ("workers/notes.txt:handlers", "--app workers/notes.txt: is not a Python file: its name does not end with .py"),
    ],
)
def test_a_path_without_a_python_file_is_told(module, tmp_path, place, told):
    module("workers/notes.txt", "")
    with pytest.raises(ConfigurationError) as raised:
        load_apps([place])
    assert str(raised.value) == told.format(folder=tmp_path)


def test_what_is_wrong_beside_a_file_is_told_with_its_line(module, tmp_path):
    module("workers/billing.py", "import prices")
    module("workers/prices.py", BROKEN)
    with pytest.raises(ConfigurationError) as raised:
        load_apps(["workers/billing.py:handlers"])
    assert str(raised.value).endswith(f"({tmp_path}/workers/prices.py, line 3)")


@pytest.mark.parametrize("first", ["broker", "gateway", "workers", "deploy"])
def test_a_module_with_a_first_name_of_ours_is_refused_with_the_way_out(module, first):
    module(f"{first}.billing")
    with pytest.raises(ConfigurationError) as raised:
        load_apps([f"{first}.billing:handlers"])
    assert str(raised.value) == (
        f"--app {first}.billing:handlers: the module {first!r} is signal-broker's own;"
        f" name the file instead: --app {first}/billing.py:handlers"
    )


@pytest.mark.parametrize("folder", ["broker", "gateway", "workers", "deploy", "team_a"])
def test_a_file_is_loaded_by_its_path(module, tmp_path, folder):
    module(f"{folder}/billing.py", app="'shop'")
    module(f"{folder}/__init__.py", BROKEN)
    (shop,) = load_apps([f"{folder}/billing.py:handlers", f"{tmp_path}/{folder}/billing.py:handlers"]).values()
    assert [handler.name for handler in shop] == ["book"]


def test_files_of_one_name_do_not_meet(module):
    module("team_a/billing.py", "from .prices import PRICE\n" + HANDLERS.format(name="handlers", app="f'shop-{PRICE}'"))
    module("team_b/billing.py", "from .prices import PRICE\n" + HANDLERS.format(name="handlers", app="f'shop-{PRICE}'"))
    module("team_a/prices.py", "PRICE = 1")
    module("team_b/prices.py", "PRICE = 2")
    assert list(load_apps(["team_a/billing.py:handlers", "team_b/billing.py:handlers"])) == ["shop-1", "shop-2"]


def test_a_file_and_a_module_of_one_name_do_not_meet(module):
    module("billing", app="'one'")
    module("workers/billing.py", app="'other'")
    assert list(load_apps(["billing:handlers", "workers/billing.py:handlers"])) == ["one", "other"]


def test_a_file_imports_what_is_beside_it_and_what_is_in_the_current_directory(module):
    module("shop.names", "NAME = 'shop'")
    module("workers/numbered.py", "NUMBER = 7")
    text = "from shop.names import NAME\nfrom numbered import NUMBER\n"
    module("workers/billing.py", text + HANDLERS.format(name="handlers", app="f'{NAME}-{NUMBER}'"))
    assert list(load_apps(["workers/billing.py:handlers"])) == ["shop-7"]


def test_two_names_in_one_file_are_two_apps(module):
    both = HANDLERS.format(name="one", app="'one'") + HANDLERS.format(name="other", app="'other'")
    module("workers/billing.py", both)
    assert list(load_apps(["workers/billing.py:one", "workers/billing.py:other"])) == ["one", "other"]


@pytest.mark.parametrize("text", [BROKEN, "def f(:", "", None])
def test_a_wrong_file_ends_the_command_with_one_line(module, monkeypatch, tmp_path, text):
    monkeypatch.setenv("SIGNAL_BROKER_DATA_DIR", str(tmp_path / "data"))
    if text is not None:
        module("workers/billing.py", text)
    done = CliRunner().invoke(main, ["run", "--app", "workers/billing.py:handlers"])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: --app workers/billing.py")
    assert done.stderr.count("\n") == 1


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
