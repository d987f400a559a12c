"""`latentkit evaluate`: every number that applies, named by its features, with its settings."""

import numpy as np
import pytest
import torch
from torchvision.models import inception_v3

import latentkit
from latentkit.cli import factors, features
from latentkit.losses.elbo import kl_to_standard_normal
from latentkit.metrics.frechet import frechet_distance
from latentkit.metrics.reconstruction import ssim
from tests.cli.conftest import result

MODELS = """
import torch

def pixels(x):
    return x.flatten(1)

def cut(x):
    return x.flatten(1).detach()

def scalar(x):
    return x.sum()

number = 3

class Mean:
    def encode(self, x):
        return torch.nn.functional.avg_pool2d(x, 8).flatten(1)

def mean():
    return Mean()
"""


@pytest.fixture
def numbers(ok, place):
    """Types `evaluate ...`; the numbers, settings and what was printed."""
    (place / "spaces.py").write_text(MODELS)

    def run(*words):
        printed = ok("evaluate", *words, "--out", "found.json")
        content = result(place / "found.json")
        return content["numbers"], content["settings"], printed

    return run


@torch.no_grad()
def test_a_vae_is_bounded_compared_and_clustered(numbers, digits):
    found, settings, printed = numbers("vae.safetensors", "--limit", 40)
    x, _ = digits.split("test")[:40]
    model = latentkit.load("vae.safetensors")
    kl = kl_to_standard_normal(*model.posterior(x)).mean(0)
    assert found["kl_nats_per_dimension"] == pytest.approx(kl.tolist(), rel=1e-4)
    assert found["ssim"] == pytest.approx(ssim(model(x), x).mean().item(), abs=1e-5)
    assert found["iwae_log_likelihood_nats"] > -found["negative_elbo_nats"] - 1
    assert settings["iwae_samples"] == 64
    assert settings["bootstrap_resamples"] == 1000
    assert settings["features"] == "encoder6"
    assert settings["generated_images"] == settings["real_images"] == 40
    assert settings["ppl_epsilon"] == 0
    for name in ("frechet", "kernel", "precision", "recall", "density", "coverage", "ppl"):
        assert np.isfinite(found[f"{name}_encoder6"])
        assert f"  {name}_encoder6: " in printed
    for name in ("kmeans_acc", "kmeans_purity", "ppl_encoder6", "iwae_log_likelihood_nats"):
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] <= high
        assert f"  {name}_ci95: {low:.4g} {high:.4g}" in printed


def test_the_same_call_gives_the_same_numbers_and_another_seed_others(numbers):
    words = ["vae.safetensors", "--limit", 20, "--importance-samples", 3]
    first, again = numbers(*words)[0], numbers(*words)[0]
    other = numbers(*words, "--seed", 1)[0]
    assert first == again
    assert first["frechet_encoder6"] != other["frechet_encoder6"]


def test_more_importance_samples_tighten_the_bound(numbers):
    bounds = [
        numbers("vae.safetensors", "--limit", 20, "--importance-samples", k)[0] for k in (1, 100)
    ]
    one, many = (found["iwae_log_likelihood_nats"] for found in bounds)
    assert many > one


@torch.no_grad()
def test_features_of_the_user_name_the_numbers(numbers, digits):
    words = ["dcgan.safetensors", "--features", "spaces:pixels", "--samples", 30]
    found, settings, _ = numbers(*words)
    model = latentkit.load("dcgan.safetensors")
    z = model.prior.sample(30, generator=torch.Generator().manual_seed(0))
    real = digits.split("test")[:30][0].flatten(1)
    expected = frechet_distance(real, model.decode(z).flatten(1))
    assert found["frechet_spaces.pixels"] == pytest.approx(expected, rel=1e-3)
    assert settings["features"] == "spaces.pixels"
    assert settings["feature_size"] == 256
    assert settings["ppl_path"] == "slerp"


def test_features_without_derivative_take_the_small_step(numbers):
    words = ["vae.safetensors", "--limit", 20, "--features"]
    found, settings, _ = numbers(*words, "spaces:cut")
    exact, how, _ = numbers(*words, "spaces:pixels")
    assert (settings["ppl_epsilon"], how["ppl_epsilon"]) == (1e-4, 0)
    assert found["ppl_spaces.cut"] == pytest.approx(exact["ppl_spaces.pixels"], rel=0.01)


def test_paths_between_codes_of_a_clustergan_are_straight(numbers):
    assert numbers("clustergan.safetensors", "--limit", 20)[1]["ppl_path"] == "lerp"


def test_an_own_classifier_knows_the_labels(numbers):
    words = ["dcgan.safetensors", "--features", "classifier", "--limit", 40]
    first, settings, _ = numbers(*words)
    assert first["classifier64_val_accuracy"] > 0.9
    assert first["frechet_classifier64"] > 0
    assert settings["feature_size"] == 64
    assert numbers(*words)[0] == first
    default = numbers("dcgan.safetensors", "--limit", 40)  # this model has no encoder
    assert default[0] == first


def test_inception_reads_the_weights_that_are_there(numbers, place, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place))
    (place / "checkpoints").mkdir()
    network = inception_v3(weights=None, init_weights=False)
    torch.save(network.state_dict(), place / "checkpoints" / features._WEIGHTS)
    words = ["dcgan.safetensors", "--features", "inception", "--limit", 2]
    found, settings, _ = numbers(*words)
    assert settings["feature_size"] == 2048
    assert found["frechet_inception2048"] >= 0


def test_known_factors_are_scored(numbers, place, monkeypatch):
    monkeypatch.setattr(factors, "_SCENES", 200)
    monkeypatch.setattr(factors, "_VOTES", 40)
    config = "class_path: latentkit.data.shapes.Shapes\ninit_args: {size: 16, count: 20}\n"
    (place / "shapes.yaml").write_text(config)
    found, settings, _ = numbers("spaces:mean", "--data", "shapes.yaml", "--limit", 20)
    names = {
        "mig",
        "mig_of_noise",
        "sap",
        "dci_disentanglement",
        "dci_completeness",
        "dci_informativeness",
    }
    for name in names | {"factor_vae_score", "beta_vae_score"}:
        assert 0 <= found[name] <= 1
    assert settings["factor_scenes"] == 200


def test_data_without_factors_have_no_such_scores(numbers):
    assert "mig" not in numbers("ae.safetensors", "--limit", 10)[0]


def test_a_single_image_is_measured_as_far_as_possible(numbers):
    found = numbers("vae.safetensors", "--limit", 1)[0]
    assert "mse" in found
    assert "frechet_encoder6" not in found
