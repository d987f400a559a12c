import itertools

import pytest
import pytorch_lightning as pl
import torch

from latentkit.data.digits import Digits
from latentkit.explain.cam import latent_cams
from latentkit.losses.attention import attention_overlap
from latentkit.losses.elbo import kl_to_standard_normal
from latentkit.models.vae import VAE
from latentkit.training.speed import _compilable
from latentkit.training.vae import VAETraining


@pytest.fixture
def batch(few):
    return few().split("train")[:8]


def logged(training):
    """What a step logs, without a trainer."""
    values = {}
    training.log = lambda key, value, **_: values.update({key: torch.as_tensor(value).item()})
    training.log_dict = training.report = lambda new, **_: [
        training.log(k, v) for k, v in new.items()
    ]
    return values


def test_beta_rises_over_the_warm_up(make, batch):
    training = make("vae", beta=3.0, warmup=4)
    values, betas = logged(training), []
    for _ in range(6):
        training.training_step(batch, 0)
        betas.append(values["train/beta"])
    assert betas == pytest.approx([0.75, 1.5, 2.25, 3.0, 3.0, 3.0])


def test_without_warm_up_beta_is_there_at_once(make, batch):
    training = make("vae", beta=3.0)
    values = logged(training)
    training.training_step(batch, 0)
    assert values["train/beta"] == 3.0


def test_the_loss_is_nll_plus_beta_kl(make, batch):
    for beta in (0.0, 1.0, 4.0):
        training = make("vae", beta=beta)
        values = logged(training)
        loss = training.training_step(batch, 0)
        assert loss.item() == pytest.approx(values["train/nll"] + beta * values["train/kl"], 1e-5)
        assert values["train/loss"] == pytest.approx(loss.item())


def test_free_bits_floor_the_training_loss_only(make, batch):
    training = make("vae", free_bits=50.0)
    values = logged(training)
    loss = training.training_step(batch, 0)
    assert values["train/kl"] < 50
    assert loss.item() == pytest.approx(values["train/nll"] + 4 * 50, 1e-5)
    training.eval()
    training.validation_step(batch, 0)
    assert values["val/negative_elbo"] == pytest.approx(values["val/nll"] + values["val/kl"], 1e-5)


def test_nats_are_summed_over_pixels_and_coordinates_and_averaged_over_images(make, batch):
    training = make("vae").eval()
    values = logged(training)
    training.validation_step(batch, 0)
    mean, log_var = training.model.posterior(batch[0])
    kl = kl_to_standard_normal(mean, log_var)
    assert values["val/kl"] == pytest.approx(kl.sum().item() / 8, 1e-5)
    assert 20 < values["val/nll"] < 64  # an untrained one is unsure of 64 pixels: 0.69 nats each


def test_the_validation_bound_does_not_depend_on_what_is_trained(make, few, trainer):
    scores = []
    for settings in ({}, {"beta": 9.0}, {"free_bits": 2.0}, {"warmup": 100}):
        training = make("vae", **settings)
        scores.append(trainer().validate(training, few(), verbose=False)[0])
    assert scores[0] == scores[1] == scores[2] == scores[3]
    total = scores[0]["val/nll"] + scores[0]["val/kl"]
    assert scores[0]["val/negative_elbo"] == pytest.approx(total, 1e-5)


def test_beta_is_what_is_trained(make, few, trainer):
    kls = []
    for beta in (0.1, 20.0):
        runner = trainer(max_epochs=8)
        runner.fit(make("vae", beta=beta, lr=1e-2), few())
        kls.append(runner.callback_metrics["val/kl"].item())
    assert kls[1] < 0.5 * kls[0]


def test_active_units_are_the_coordinates_whose_mean_varies(make):
    training = make("vae").eval()
    values = logged(training)
    spread = torch.tensor([0.0, 0.05, 0.2, 1.0])  # variances 0, 0.0025, 0.04, 1
    training._means = [spread * torch.randn(500, 4, generator=torch.Generator().manual_seed(0))]
    training.on_validation_epoch_end()
    assert values["val/active_units"] == 2
    assert training._means == []


def test_of_one_image_no_unit_varies(make):
    training = make("vae").eval()
    values = logged(training)
    training._means = [torch.ones(1, 4)]
    training.on_test_epoch_end()
    assert values["test/active_units"] == 0


def test_active_units_see_all_batches(make, few, trainer):
    training = make("vae")
    collected = []
    training._log_active = lambda stage: collected.append(torch.cat(training._means))
    trainer().validate(training, few(), verbose=False)
    x, _ = few().split("val")[:]
    torch.testing.assert_close(collected[0], training.eval().encode(x).detach())


# --- attention disentanglement


def test_attention_is_off_by_default_and_draws_nothing(make, batch):
    training = make("vae")
    values = logged(training)
    generators, noise = [], training.noise

    def remembered(*args):
        generators.append(noise(*args))
        return generators[-1]

    training.noise = remembered
    loss = training.training_step(batch, 0)
    assert "train/attention_overlap" not in {**values, **training._noted.get(False, {})}
    assert loss.item() == pytest.approx(values["train/nll"] + values["train/kl"], 1e-5)
    training.iteration -= 1
    plain = noise()
    training.model.prior.sample(8, generator=plain)
    assert torch.equal(generators[0].get_state(), plain.get_state())


def test_the_overlap_is_added_with_its_weight(make, batch):
    losses, overlaps = [], []
    for weight in (0.0, 1.0, 50.0):
        training = make("vae", attention_disentanglement=weight)
        values = logged(training)
        training.note = lambda new, values=values: values.update(new)
        losses.append(training.training_step(batch, 0).item())
        overlaps.append(torch.as_tensor(values.get("train/attention_overlap", 0)).item())
        assert not any(m._forward_hooks for m in training.modules())
    assert 0 < overlaps[1] < 1
    assert overlaps[1] == overlaps[2]
    assert losses[1] == pytest.approx(losses[0] + overlaps[1], 1e-6)
    assert losses[2] == pytest.approx(losses[0] + 50 * overlaps[1], 1e-6)


def test_the_units_are_drawn_anew_in_each_iteration_and_the_same_when_repeated(
    make, batch, monkeypatch
):
    pairs, draw = [], torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: pairs.append(draw(*a, **k)) or pairs[-1])
    for _ in range(2):
        training = make("vae", attention_disentanglement=1.0)
        logged(training)
        for _ in range(12):
            training.training_step(batch, 0)
    drawn = [frozenset(p[:2].tolist()) for p in pairs]
    assert all(len(pair) == 2 for pair in drawn)
    assert drawn[:12] == drawn[12:]
    assert len(set(drawn)) > 3  # of six


def test_a_resumed_run_with_attention_is_the_uninterrupted_one(make, few, trainer, tmp_path):
    def fit(epochs, path=None, **settings):
        training = make("vae", attention_disentanglement=5.0)
        runner = trainer(max_epochs=epochs, **settings)
        runner.fit(training, few(), ckpt_path=path, weights_only=True)
        return training

    whole = fit(3)
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "last", enable_version_counter=False)
    fit(1, callbacks=[keep], enable_checkpointing=True)
    resumed = fit(3, tmp_path / "last.ckpt")
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())
    other = make("vae")
    trainer(max_epochs=3).fit(other, few())
    assert not torch.equal(other.model.encoder.head.weight, whole.model.encoder.head.weight)


def test_a_compiled_run_leaves_the_encoder_out_whose_attention_is_trained(make):
    for weight, left in ((0.0, {"encoder", "decoder"}), (1.0, {"decoder"})):
        training = make("vae", attention_disentanglement=weight)
        compiled = _compilable(training)
        assert {k for k, m in training.model.named_children() if m in compiled} == left


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_the_weight_of_attention_is_not_negative(make, weight):
    with pytest.raises(ValueError, match="attention_disentanglement of 0 or more, got"):
        make("vae", attention_disentanglement=weight)


def test_attention_needs_two_units():
    model = VAE((1, 8, 8), latent_dim=1, width=4, hidden=8)
    VAETraining(model)
    with pytest.raises(ValueError, match="compares two latent units, got a model with 1"):
        VAETraining(model, attention_disentanglement=1.0)


def overlap_of_all_pairs(model, x):
    """The mean overlap over images and pairs of units, and the share of maps that are empty."""
    part = model.explainable()["encoder"]
    maps = latent_cams(part.module, part.layers[-1], x, "grad-cam").abs()
    pairs = list(itertools.combinations(range(maps.shape[1]), 2))
    shares = [attention_overlap(maps[:, i], maps[:, j]).item() for i, j in pairs]
    return sum(shares) / len(pairs), maps.flatten(2).amax(2).eq(0).float().mean().item()


@pytest.mark.slow
def test_training_with_attention_lowers_the_overlap(trainer):
    data = Digits(size=16, batch_size=64)
    x, bounds, overlaps = data.split("test")[:100][0], [], []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = VAE((1, 16, 16), latent_dim=4, width=8, hidden=32)
        training = VAETraining(model, lr=2e-3, attention_disentanglement=weight)
        runner = trainer(max_epochs=15, limit_val_batches=1)
        runner.fit(training, data)
        bounds.append(runner.callback_metrics["val/negative_elbo"].item())
        overlap, empty = overlap_of_all_pairs(model.eval(), x)
        overlaps.append(overlap)
        assert empty < 0.1  # apart, not gone
    assert overlaps[1] < 0.7 * overlaps[0], overlaps
    assert bounds[1] < 1.05 * bounds[0], bounds  # and the images still come back
