"""The built wheel in an environment of its own, used by a project that has the names of our packages for its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.throwing import throw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("broker", "gateway", "workers", "deploy")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"

BILLING = """
import json
from pathlib import Path

import broker, deploy, gateway, workers
from workers.handlers import Handlers

from shop.models import Paid
from prices import PRICE
from .taxes import TAX

handlers = Handlers("billing")

@handlers.on("order.paid")
def book(payload: Paid):
    origins = [module.__file__ for module in (broker, gateway, workers, deploy)]
    Path("booked.json").write_text(json.dumps([payload.order, PRICE + TAX, origins]))
"""
SHIPPING = """
from pathlib import Path
from workers.handlers import Handlers
from shop.models import Paid

handlers = Handlers()

@handlers.on("order.paid")
def ship(payload: Paid):
    Path("shipped").write_text(str(payload.order))
"""
PROJECT = {
    **{
        f"{package}/__init__.py": f"raise RuntimeError('this is the project\\'s own {package}')" for package in PACKAGES
    },
    **{f"{package}/settings.py": "" for package in PACKAGES},
    "shop/models.py": "from dataclasses import dataclass\n\n@dataclass\nclass Paid:\n    order: int\n",
    "shop/shipping.py": SHIPPING,
    "workers/billing.py": BILLING,
    "workers/prices.py": "PRICE = 1200",
    "workers/taxes.py": "TAX = 228",
    "workers/absolute.py": "\nfrom workers.prices import PRICE\n",
}


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """Return the commands of an environment with the wheel; what the product needs is borrowed from this one."""
    directory = tmp_path_factory.mktemp("wheel")
    source, environment = directory / "source", directory / "environment"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source)
    call([sys.executable, "-c", BUILD, str(directory)], cwd=source)
    (wheel,) = directory.glob("*.whl")
    venv.create(environment, symlinks=True)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    call([*pip, "--no-index", "--no-deps", "--no-compile", str(wheel)], cwd=directory)
    # A line of such a file is a folder to import from; the files like it in that folder are not read.
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Return the folder of the project, which is the current directory."""
    for name, text in PROJECT.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for variable in ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SIGNAL_BROKER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def call(command, *, cwd, expect=0, **environment):
    """Run *command* to its end; return what it wrote."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def origins(installed):
    """Return the files of the four packages that were installed."""
    (packages,) = installed.parent.glob("lib/python3*/site-packages")
    return [str(packages / package / "__init__.py") for package in PACKAGES]


# Nothing, as a shell has it; the project's folder, as an image or a tool may set it.
@pytest.mark.parametrize("python_path", ["", "."])
@pytest.mark.parametrize("origin", ["wheel", "checkout"])
def test_the_command_finds_its_own_packages_in_the_project_s_folder(installed, project, origin, python_path):
    commands = installed if origin == "wheel" else Path(sys.executable).parent
    said = call([commands / "signal-broker", "--version"], cwd=project, PYTHONPATH=python_path)
    assert said == f"signal-broker, version {version('signal-broker')}\n"


def test_the_way_out_of_a_package_s_name_is_its_file(installed, project):
    (project / "workers" / "shop").mkdir()
    command = [installed / "signal-broker", "worker", "handlers", "--app", "workers.shop:handlers"]
    assert "--app workers/shop/__init__.py:handlers\n" in call(command, cwd=project, expect=1)


def test_python_finds_the_packages_when_it_is_told_not_to_look_in_the_project_s_folder(installed, project):
    program = f"import {', '.join(PACKAGES)}; print(*(one.__file__ for one in ({', '.join(PACKAGES)})), sep='\\n')"
    assert call([installed / "python", "-P", "-c", program], cwd=project).splitlines() == origins(installed)
    said = call([installed / "python", "-P", "-m", "deploy.cli.main", "--version"], cwd=project)
    assert said.endswith(f", version {version('signal-broker')}\n")


def test_a_module_of_the_project_with_a_name_of_ours_is_refused_with_the_way_out(installed, project):
    command = [installed / "signal-broker", "worker", "handlers", "--app", "workers.billing:handlers"]
    assert call(command, cwd=project, expect=1) == (
        "Error: --app workers.billing:handlers: the module 'workers' is signal-broker's own;"
        " name the file instead: --app workers/billing.py:handlers\n"
    )


def test_an_import_by_a_name_of_ours_is_told_with_its_line(installed, project):
    command = [installed / "signal-broker", "worker", "handlers", "--app", "workers/absolute.py:handlers"]
    assert call(command, cwd=project, expect=1, PYTHONPATH=".") == (
        "Error: --app workers/absolute.py: cannot be imported: ModuleNotFoundError: No module named 'workers.prices';"
        f" 'workers' is signal-broker's own here ({project}/workers/absolute.py, line 2)\n"
    )


async def test_handlers_in_the_project_s_own_folders_get_a_signal(
    installed, project, database_url, tmp_path, monkeypatch
):
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path / "data")}
    command = (str(installed / "signal-broker"),)
    product = Process("run", environment=environment, log=tmp_path / "run.log", command=command)
    apps = ("--app", "workers/billing.py:handlers", "--app", "shop.shipping:handlers")
    worker = Process("worker", "handlers", *apps, environment=environment, log=tmp_path / "log", command=command)
    async with product, client_of(product.url) as client:
        monkeypatch.setenv("PYTHONPATH", ".")
        async with worker:
            await throw(client, "order.paid", payload={"order": 7})
            booked, shipped = project / "booked.json", project / "shipped"
            await eventually(lambda: read(booked) and read(shipped))
            assert await worker.stop() == 0
        page = await client.get("/v1/subscriptions")
        assert await product.stop() == 0
    assert json.loads(booked.read_text()) == [7, 1428, origins(installed)]
    assert shipped.read_text() == "7"
    assert sorted((one["target"]["app"], one["target"]["handler"]) for one in page["items"]) == [
        ("billing", "book"),
        ("shop.shipping", "ship"),
    ]


def read(path):
    return path.read_text() if path.exists() else ""
