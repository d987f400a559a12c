"""What all tests share: one thread (small tensors, few cores) and a fixed global seed."""

import importlib
import os
import signal
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before they are imported; processes of the tests, too

import pytest  # noqa: E402
import torch  # noqa: E402

# A shell starts what runs in its background with Ctrl-C ignored, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
# It compiles for ten seconds in every process that uses it; one slow test has it back.
sys.modules["umap"] = None  # type: ignore[assignment]

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def script(monkeypatch):
    """Import one of the scripts of benchmarks, which find each other in their folder."""
    names = {path.stem for path in BENCHMARKS.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in names & set(sys.modules)}  # tests/training
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in names & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(others)
