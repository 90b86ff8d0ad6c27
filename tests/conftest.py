"""Settings shared by all tests: one thread, reproducible draws, no deadline (never a timed test)."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

sys.modules["tests"] = ModuleType("tests")  # other libraries bring a package of this name (draccus, with LeRobot)
sys.modules["tests"].__path__ = [str(Path(__file__).parent)]

TIERS = {
    "integration": "integration",
    "integration_lerobot": "integration_lerobot",
    "integration_robosuite": "robosuite",
}
"""folders with an environment of their own, and the marker by which `make` asks for each"""

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: kernels run on CPU tensors
torch.set_num_threads(1)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a suite in the background ignores Ctrl-C, and so would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("here", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("elsewhere", settings.get_profile("here"), max_examples=5)
settings.load_profile("here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="Where the quick tier runs: cpu, cuda, or elsewhere (a stand-in).")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only a run that asks for a tier sees its folder; there, a missing library is a failure."""
    marker = TIERS.get(collection_path.name)
    return True if marker is not None and config.option.markexpr != marker else None


def pytest_configure(config: pytest.Config) -> None:
    for marker in TIERS.values():
        config.addinivalue_line("markers", f"{marker}: runs with other libraries, in an environment of their own")
    if config.option.markexpr in TIERS.values():  # those libraries' own deprecations are not this project's errors
        config.addinivalue_line("filterwarnings", "ignore")
    config.device = torch.device("cpu")  # type: ignore[attr-defined]
    if (named := config.getoption("--device")) != "cpu":
        from tests.device import place

        config.device = place(named)  # type: ignore[attr-defined]
        config.option.reportchars += "s"  # what is skipped there, and why
        settings.load_profile("elsewhere")
        config.addinivalue_line("filterwarnings", "ignore:OptimalTransport.reg=0. is exact:UserWarning")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where tensors that tests make are."""
    return request.config.device  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def of_the_cpu(device: torch.device) -> None:
    """For tests of solvers that the CPU alone has."""
    if device.type != "cpu":
        pytest.skip("tests the solvers of the CPU")


@pytest.fixture
def compiled(device: torch.device) -> None:
    """For tests of what torch.compile makes."""
    if device.type == "elsewhere":
        pytest.skip("torch.compile has no code for the stand-in")


@pytest.fixture(autouse=True)
def _own_flags(device: torch.device) -> Iterator[None]:
    """What bare terms posted on a device is told within the test that posted it, not in a later one."""
    yield
    if device.type != "cpu":
        from cotrain_losses._core.flags import common

        with suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            common.read()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # densratio, once imported, sets it to the number of cores


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
