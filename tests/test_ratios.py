"""Guards of speed: what must not grow slower, as ratios of processor time with wide bounds.

Each is measured closely by a script in `benchmarks/`; here only a loss that everybody would feel
fails. Both sides run in turn, and the least time of each counts: a busy machine can only add to it.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from torch.utils.data import DataLoader, TensorDataset

from latentkit.data.arrays import Arrays
from latentkit.views.atlas import AtlasRows, atlas

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec|.*logging interval"),
]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path):
    """As many images as the steps need, of MNIST's size."""
    images = np.random.default_rng(0).integers(0, 256, (60 * 128, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images)
    return Arrays(str(tmp_path / "images.npz"), batch_size=128)


def processor_time(run):
    start = time.process_time()
    run()
    return time.process_time() - start


def least(ours, theirs, rounds=5):
    """The ratio of the two sides' least times, after one call of each to warm up."""
    ours(), theirs()
    times = [(processor_time(ours), processor_time(theirs)) for _ in range(rounds)]
    mine, others = map(min, zip(*times, strict=True))
    print(f"ratio {mine / others:.2f}")  # shown by -s
    return mine / others


def child_time(code):
    """Processor seconds of a fresh interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_training_step_costs_little_more_than_a_bare_loop(script, data):
    training, loops = script("training"), script("bare").LOOPS
    model = yaml.safe_load((ROOT / "configs/vae_mnist.yaml").read_text())["model"]
    ratios = []
    for _ in range(3):
        ours = training._seeded(training.fit, model, data, 40)
        ratios.append(ours / training._seeded(loops["vae"], model, data, 40, training.SKIPPED))
    assert min(ratios) < 1.4  # 1.03 measured by benchmarks/training.py --parts bare_loop


def test_batches_in_memory_are_indexed_at_once(data):
    loader = data.train_dataloader()
    pixels = data.split("train")[:][0]
    plain = DataLoader(TensorDataset(pixels), batch_size=128, shuffle=True)
    assert least(lambda: list(loader), lambda: list(plain)) < 1.2  # 0.85 here; ours convert, too


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++"])
def test_a_heatmap_costs_what_its_passes_cost(script, method):
    bench = script("cam")
    net, x = bench.network()
    x, (front, back) = x[:8, :, :128, :128], bench.split(net, "layer4")
    ratio = least(
        lambda: bench.ours(method, net, "layer4", x), lambda: bench.bound(method, front, back, x)
    )
    assert ratio < 1.3  # 1.02 to 1.05 measured by benchmarks/cam.py


def test_an_atlas_is_drawn_without_a_pair_of_axes_a_cell(tmp_path):
    walks, maps = torch.rand(6, 6, 1, 28, 28), torch.randn(2, 6, 7, 7)
    cells = [*walks.transpose(0, 1)[:, :, 0], *maps]  # column by column

    def ours():
        panel = AtlasRows(walks, {"effect": maps[0].abs(), "encoder reading": maps[1]})
        drawn = atlas(panel, [f"image {k}" for k in range(6)], "pc 1")
        drawn.savefig(tmp_path / "ours.png", dpi=200, bbox_inches="tight")

    def plain():
        figure = Figure(figsize=(11, 8), layout="constrained")
        places = figure.subplots(6, 8)
        for column, images in zip(places.T, cells, strict=True):
            for axes, image in zip(column, images, strict=True):
                shown = axes.imshow(image)
                axes.set(xticks=[], yticks=[])
        for column in places.T[-2:]:
            figure.colorbar(shown, ax=column)
        figure.savefig(tmp_path / "plain.png", dpi=200, bbox_inches="tight")

    assert least(ours, plain) < 0.8  # 0.61 measured


def test_a_verb_starts_in_little_more_than_torch_does(tmp_path):
    command = ["sample", "vae_mnist", "--out", str(tmp_path / "sheet.png")]
    verb = f"import torch; from latentkit.cli import main; main({command})"
    assert min(child_time(verb) / child_time("import torch") for _ in range(3)) < 2


def test_the_help_needs_no_torch():
    code = "from latentkit.cli import main; main(['explain', '--help'])"
    assert child_time(code) < child_time("import torch") / 2
