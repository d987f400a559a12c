"""`latentkit evaluate`: every number that applies, named by its features, with its settings."""

import numpy as np
import pytest
import torch
from torchvision.models import inception_v3

import latentkit
from latentkit.cli.judging import bounds, factors, scores
from latentkit.cli.named import sources
from latentkit.losses.elbo import kl_to_standard_normal
from latentkit.metrics import generated as features_compared
from latentkit.metrics.frechet import frechet_distance
from latentkit.metrics.reconstruction import ssim
from latentkit.training import classifier, inception
from tests.cli.conftest import random_part, result

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
    x, _ = random_part(digits.split("test"), 40)
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
    assert settings["fewer_than_all"] == "random rows, by the seed"
    assert (settings["images"], settings["images_in_split"]) == (40, len(digits.split("test")))
    assert settings["pca_images"] == len(digits.split("train"))
    assert (settings["elbo_samples"], settings["elbo_images"]) == (1, 40)
    assert (settings["kmeans_clusters"], settings["kmeans_restarts"]) == (10, 10)
    assert settings["active_unit_variance_above"] == 0.01
    assert "kernel_encoder6_sd" not in found  # all subsets are the whole
    assert settings["kernel_subsets"] == 1
    for name in ("frechet", "kernel", "precision", "recall", "density", "coverage", "ppl"):
        assert np.isfinite(found[f"{name}_encoder6"])
        assert f"  {name}_encoder6: " in printed


@torch.no_grad()
def test_means_over_images_have_intervals(numbers, digits):
    found, settings, printed = numbers("vae.safetensors", "--limit", 40)
    assert "kmeans_nmi_ci95" not in found  # it holds the corrected score, not the plain one
    with_interval = {k.removesuffix("_ci95") for k in found if k.endswith("_ci95")}
    assert with_interval == {
        *("mse", "psnr_db", "ssim", "mse_of_pca_of_equal_size"),
        *(f"kmeans_{name}_corrected" for name in ("acc", "purity", "nmi", "ari")),
        *("negative_elbo_nats", "kl_nats", "negative_elbo_nats_of_iwae_images"),
        *("iwae_log_likelihood_nats", "kernel_encoder6", "ppl_encoder6"),
        *(f"{name}_encoder6" for name in ("precision", "recall", "density", "coverage")),
    }
    for name in with_interval:
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] <= high
        assert f"  {name}: {found[name]:.4g} (95 % {low:.4g} to {high:.4g})\n" in printed
    x, model = random_part(digits.split("test"), 40)[0], latentkit.load("vae.safetensors")
    each = (model.decode(model.encode(x)) - x).square().flatten(1).mean(1)
    middle, error = found["mse"], 1.96 * each.std().item() / 40**0.5
    assert found["mse_ci95"] == pytest.approx([middle - error, middle + error], rel=0.05)
    assert settings["precision_density_ci95"].startswith("over generated images")
    assert settings["recall_coverage_ci95"].startswith("over real images")


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
    real = random_part(digits.split("test"), 30)[0].flatten(1)
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


def test_an_own_classifier_knows_the_labels(numbers, monkeypatch, digits):
    monkeypatch.setattr(classifier, "_STEPS", 300)
    words = ["dcgan.safetensors", "--features", "classifier", "--limit", 40]
    first, settings, _ = numbers(*words)
    assert first["classifier64_val_accuracy"] > 0.9
    assert first["frechet_classifier64"] > 0
    assert settings["feature_size"] == 64
    assert settings["classifier_steps"] == 300
    assert settings["classifier_images"] == len(digits.split("train"))
    assert settings["classifier_val_images"] == len(digits.split("val"))
    assert settings["logit_images"] == 40
    assert numbers(*words)[0] == first
    default = numbers("dcgan.safetensors", "--limit", 40)  # this model has no encoder
    assert default[0] == first


def test_inception_reads_the_weights_that_are_there(numbers, place, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place))
    (place / "checkpoints").mkdir()
    network = inception_v3(weights=None, init_weights=False)
    torch.save(network.state_dict(), place / "checkpoints" / inception._WEIGHTS)
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
    assert settings["dci_sap_fitted_scenes"] == 100
    assert "gradient boosting" in settings["dci_predictor"]
    assert "linear SVM" in settings["sap_predictor"]


def test_data_without_factors_have_no_such_scores(numbers):
    assert "mig" not in numbers("ae.safetensors", "--limit", 10)[0]


def test_a_single_image_is_measured_as_far_as_possible(numbers):
    found = numbers("vae.safetensors", "--limit", 1)[0]
    assert "mse" in found
    assert "mse_ci95" not in found  # one image says nothing of others
    assert "frechet_encoder6" not in found


def test_images_sorted_by_class_are_not_cut_off(place):
    """Black images first, white ones last: the mean of any random half is about grey."""
    x = np.concatenate([np.zeros((200, 16, 16)), np.ones((200, 16, 16))]).astype("float32")
    np.savez(place / "sorted.npz", x=x)
    source = sources.Source("", None, {}, torch.device("cpu"), "sorted.npz")
    grey = source.sample("train", 100, 0)[0].mean().item()
    assert 0.3 < grey < 0.7
    assert source.images("train", 100)[0].mean().item() in {0, 1}  # the control


@pytest.fixture
def seen(monkeypatch):
    """The images that the measures of few images look at, by name."""
    found = {}

    def watch(module, name, place):
        real = getattr(module, name)

        def watched(*words):
            found[name] = words[place]
            return real(*words)

        monkeypatch.setattr(module, name, watched)

    watch(bounds, "_importance", 2)
    watch(features_compared, "_kernel", 0)
    return found


@torch.no_grad()
def test_measures_of_few_images_take_random_ones(numbers, digits, seen, monkeypatch):
    monkeypatch.setattr(bounds, "_FOR_BOUND", 10)
    monkeypatch.setattr(scores, "_FOR_LOGITS", 10)
    monkeypatch.setattr(scores, "_FOR_PCA", 50)
    found, settings, _ = numbers("vae.safetensors", "--samples", 25, "--importance-samples", 2)
    images, model = digits.split("test"), latentkit.load("vae.safetensors")
    assert torch.equal(seen["_importance"], random_part(images, 10)[0])
    torch.testing.assert_close(seen["_kernel"], model.encode(random_part(images, 25)[0]))
    assert settings["iwae_images"] == 10
    assert settings["elbo_images"] == len(images)
    bound = found["iwae_log_likelihood_nats"] + found["negative_elbo_nats_of_iwae_images"]
    assert -2 < bound < 10  # nats between bounds of the same images, up to chance
    flat = random_part(digits.split("train"), 50)[0].flatten(1).double()
    axes = torch.linalg.svd(flat - flat.mean(0), full_matrices=False).Vh[:6]
    held = images[:][0].flatten(1).double() - flat.mean(0)
    error = (held - held @ axes.T @ axes).square().mean().item()
    assert settings["pca_images"] == 50
    assert found["mse_of_pca_of_equal_size"] == pytest.approx(error, rel=1e-3)
    dcgan, settings, _ = numbers("dcgan.safetensors", "--features", "spaces:pixels")
    logits = latentkit.load("dcgan.safetensors").discriminate(random_part(images, 10)[0])
    assert dcgan["logit_real"] == pytest.approx(logits.mean().item(), abs=1e-5)
    assert settings["logit_images"] == 10
    assert dcgan["logit_real_ci95"][0] < dcgan["logit_real"] < dcgan["logit_real_ci95"][1]


def test_the_kernel_distance_of_true_subsets_has_a_deviation(numbers, monkeypatch):
    monkeypatch.setattr(features_compared, "_SUBSET", 10)
    found, settings, _ = numbers("vae.safetensors", "--limit", 20)
    assert found["kernel_encoder6_sd"] > 0
    assert (settings["kernel_subsets"], settings["kernel_subset_size"]) == (100, 10)
