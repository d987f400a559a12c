"""Training and model files beside pythae: small runs on scikit-learn's digits."""

import pickle
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import torch
from peers_fits import SHAPE, difference, digits, fit, identity, pythae_fit, source
from peers_outcome import Outcome, named
from torch import Tensor, nn

import latentkit
from latentkit.latent.interpolate import matched
from latentkit.priors import Gaussian
from latentkit.testing import check_model


def resume_latentkit() -> Outcome:
    """Two epochs at once, and one after the other."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        whole, *_ = fit(one, 2)
        fit(two, 1)
        again, *_ = fit(two, 2, Path(two) / "last.ckpt")
    off = difference(whole, again)
    return Outcome(off == 0, "the same bits" if off == 0 else f"weights differ by {off:.3f}")


def resume_pythae() -> Outcome:
    """The same; what a checkpoint holds beside the model has no reader in the package."""
    from pythae.models import AutoModel

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        whole, _ = pythae_fit(one, 2)
        first = next(Path(one).glob("*/checkpoint_epoch_1"))
        again, _ = pythae_fit(two, 1, AutoModel.load_from_folder(str(first)))
        kept = (first / "optimizer.pt").exists()
    read = re.findall(r"load\([^)]*optimizer", source("pythae"))
    off = difference(whole, again)
    said = "the same bits" if off == 0 else f"weights differ by {off:.3f}"
    return Outcome(off == 0, f"{said}; Adam's state is saved{'' if read else ', not read'}" * kept)


class Trap:
    """Creates a file where a pickle of it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.mark,)


def pickle_latentkit() -> Outcome:
    """A pickle under the names of a model file and of a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "ran"
        for name in ("model.safetensors", "last.ckpt"):
            (Path(folder) / name).write_bytes(pickle.dumps(Trap(mark), 2))
            try:
                latentkit.load(Path(folder) / name)
                return Outcome(False, f"{name} was opened")
            except ValueError:
                pass
        return Outcome(not mark.exists(), "code ran" if mark.exists() else "refused, nothing ran")


def pickle_pythae() -> Outcome:
    """The same pickle where pythae keeps an encoder of the user's own."""
    from pythae.models import AE, AEConfig, AutoModel

    with tempfile.TemporaryDirectory() as folder:
        AE(AEConfig((1, 8, 8), latent_dim=2), encoder=identity()[0]).save(folder)
        mark = Path(folder) / "ran"
        (Path(folder) / "encoder.pkl").write_bytes(pickle.dumps(Trap(mark), 2))
        with suppress(Exception):  # what comes after the pickle was opened does not matter
            AutoModel.load_from_folder(folder)
        return Outcome(not mark.exists(), "code in encoder.pkl ran" if mark.exists() else "refused")


def own_latentkit() -> Outcome:
    """Any object with encode and decode."""
    names = check_model(
        SimpleNamespace(encode=lambda x: 2 * x, decode=lambda z: z / 2), digits()[1]
    )
    return Outcome(bool(names), "any object with encode and/or decode")


def own_pythae() -> Outcome:
    """A plain module as the encoder."""
    from pythae.models import AE, AEConfig

    try:
        AE(AEConfig((1, 8, 8), latent_dim=2), encoder=nn.Linear(64, 2))
    except Exception as error:  # noqa: BLE001  (its kind is what is asked for)
        return Outcome(False, named(error))
    return Outcome(True, "any module")


def ends() -> Tensor:
    """Two batches of latents from the prior N(0, 1), (2, 4096, 16)."""
    return torch.randn(2, 4096, 16, generator=torch.Generator().manual_seed(0))


def _halfway(z: Tensor) -> Outcome:
    variance = float(z.var())
    return Outcome(abs(variance - 1) < 0.05, f"variance {variance:.2f}")


def interpolation_latentkit() -> Outcome:
    """Half-way of a path that is matched to the prior."""
    return _halfway(matched(*ends(), 3, prior=Gaussian(16))[:, 1])


def interpolation_pythae() -> Outcome:
    """Half-way of its only path, with networks that change nothing."""
    from pythae.models import AE, AEConfig

    encoder, decoder = identity()
    model = AE(AEConfig((16,), latent_dim=16), encoder=encoder, decoder=decoder)
    return _halfway(model.interpolate(*ends(), granularity=3)[:, 1])


def measured_latentkit() -> Outcome:
    """What a training measures on validation images, beside the loss."""
    with tempfile.TemporaryDirectory() as folder:
        found = fit(folder, 1)[1]
    names = sorted(k.removeprefix("val/") for k in found if k.startswith("val/"))
    return Outcome(len(names) > 1, ", ".join(names))


def measured_pythae() -> Outcome:
    """The same."""
    with tempfile.TemporaryDirectory() as folder:
        names = sorted(k for k in pythae_fit(folder, 1)[1] if k.startswith("eval"))
    return Outcome(len(names) > 1, ", ".join(names))


def collapse_latentkit() -> Outcome:
    """A VAE whose KL weighs a thousandfold, so that its latents die, beside one that lives."""
    rung = []
    for beta in (1000.0, 1.0):
        with tempfile.TemporaryDirectory() as folder:
            alarms = fit(folder, 20, beta=beta, lr=3e-3)[2]
        rung.append(any("posterior_collapse" in str(alarm) for alarm in alarms))
    said = "an alarm for it alone" if rung == [True, False] else f"alarms: {rung}"
    return Outcome(rung == [True, False], said)


def collapse_pythae() -> Outcome:
    """The same two; pythae says what it logs, so an alarm would be among the names."""
    from pythae.models import BetaVAE, BetaVAEConfig

    names = []
    for beta in (1000.0, 1.0):
        model = BetaVAE(BetaVAEConfig(SHAPE, latent_dim=4, beta=beta))
        with tempfile.TemporaryDirectory() as folder:
            names.append(set(pythae_fit(folder, 20, model)[1]))
    told = names[0] != names[1]
    return Outcome(told, "told" if told else "nothing is said of either")


def broken_latentkit() -> Outcome:
    """A learning rate that breaks the training."""
    return _stopped(lambda folder: fit(folder, 2, lr=1e20))


def broken_pythae() -> Outcome:
    """The same."""
    return _stopped(lambda folder: pythae_fit(folder, 2, lr=1e20))


def _stopped(run: Callable[[str], object]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(folder)
        except (ValueError, ArithmeticError) as error:
            return Outcome(True, named(error))
    return Outcome(False, "goes on")


CHECKS: dict[str, tuple[str, dict[str, Callable[[], Outcome]]]] = {
    "resume": (
        "Two epochs, and one epoch with one more after it, end alike",
        {"latentkit": resume_latentkit, "pythae": resume_pythae},
    ),
    "pickle": (
        "Somebody's model file cannot run code",
        {"latentkit": pickle_latentkit, "pythae": pickle_pythae},
    ),
    "own-model": (
        "Networks of one's own without inheriting",
        {"latentkit": own_latentkit, "pythae": own_pythae},
    ),
    "interpolation": (
        "Half-way between two samples of N(0, 1) is one, too: variance 1",
        {"latentkit": interpolation_latentkit, "pythae": interpolation_pythae},
    ),
    "measured": (
        "A VAE's training measures more than its loss on validation images",
        {"latentkit": measured_latentkit, "pythae": measured_pythae},
    ),
    "collapse": (
        "A VAE whose latents die is told apart from a slow one",
        {"latentkit": collapse_latentkit, "pythae": collapse_pythae},
    ),
    "broken": (
        "A loss that is no number stops the run",
        {"latentkit": broken_latentkit, "pythae": broken_pythae},
    ),
}
"""By name: the claim, and the check of each side."""
