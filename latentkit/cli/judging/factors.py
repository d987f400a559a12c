"""How `latentkit evaluate` scores disentanglement, on data whose factors are known."""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from latentkit.cli.named.sources import BATCH, Source
from latentkit.cli.progress import watched
from latentkit.data.shapes import Shapes
from latentkit.data.shapes_render import FACTORS, render, sample_factors, shape_index
from latentkit.metrics.disentanglement import dci, importance, mig, mig_of_noise, sap
from latentkit.metrics.fixed_factor import beta_vae, factor_vae

_SCENES = 4000  # that MIG, SAP and DCI are measured on
_VOTES, _GROUP, _PAIRS = 500, 32, 16  # of the scores with one factor held fixed
_BINS = 20
_PREDICTORS = {
    "dci_predictor": "gradient boosting, 100 trees of depth 3",
    "sap_predictor": "linear SVM, C 0.01, of the shape; squared correlation of amounts",
}
_SHAPE = FACTORS.index("shape")  # a kind; all other factors are amounts


def disentanglement(
    source: Source, data: Shapes, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers and settings, on fresh scenes: their factors are independent and uniform.

    Raises:
        ValueError: all latents are alike.
    """
    represent = _Represent(source, data.size, _SCENES + 2 * _VOTES * _GROUP + 1000)
    factors = sample_factors(_SCENES, torch.Generator().manual_seed(seed))
    latents = represent(factors)
    settings: dict[str, Any] = {"factor_scenes": _SCENES, "factor_votes": _VOTES, "mig_bins": _BINS}
    settings |= {"factor_vae_batch": _GROUP, "beta_vae_pairs": _PAIRS, **_PREDICTORS}
    settings["dci_sap_fitted_scenes"] = _SCENES // 2  # and measured on the others
    if not (latents.std(0) > 0).any():
        raise ValueError(f"expected latents that vary over scenes, {source.name} gives one latent")
    factors[:, _SHAPE] = shape_index(factors).float()
    numbers = _dci(latents, factors, seed)
    if latents.shape[1] > 1:
        numbers |= {"mig": mig(latents, factors, _BINS), "sap": sap(latents, factors, {_SHAPE})}
        numbers["mig_of_noise"] = mig_of_noise(latents, factors, _BINS, seed=seed)
    task = {"votes": _VOTES, "seed": seed}
    numbers["factor_vae_score"] = factor_vae(represent, sample_factors, batch=_GROUP, **task)
    numbers["beta_vae_score"] = beta_vae(represent, sample_factors, pairs=_PAIRS, **task)
    represent.bar.close()
    return numbers, settings


def _dci(latents: Tensor, factors: Tensor, seed: int) -> dict[str, float]:
    columns = watched(range(len(FACTORS)), "DCI")
    found = [importance(latents, factors[:, j], j == _SHAPE, seed) for j in columns]
    numbers = {"dci_informativeness": sum(score for _, score in found) / len(found)}
    table = torch.stack([weights for weights, _ in found], dim=1)
    if len(table) > 1 and table.sum() > 0:
        numbers |= {f"dci_{name}": value for name, value in dci(table)._asdict().items()}
    return numbers


class _Represent:
    """Factors (N, F) -> latents (N, D): draws the scenes and encodes them, batch by batch."""

    def __init__(self, source: Source, size: int, total: int) -> None:
        self.source, self.size = source, size
        self.bar = tqdm(total=total, desc="scenes", leave=False, disable=None)

    @torch.no_grad()
    def __call__(self, factors: Tensor) -> Tensor:
        found = []
        for part in torch.split(factors, BATCH):
            image = render(part, self.size).image.to(self.source.device)
            found.append(self.source.model.encode(image).flatten(1).cpu())
            self.bar.update(len(part))
        return torch.cat(found)
