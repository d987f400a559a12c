import pytest
import torch

from latentkit.losses.elbo import kl_to_standard_normal


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


def test_active_units_see_all_batches(make, few, trainer):
    training = make("vae")
    collected = []
    training._log_active = lambda stage: collected.append(torch.cat(training._means))
    trainer().validate(training, few(), verbose=False)
    x, _ = few().split("val")[:]
    torch.testing.assert_close(collected[0], training.eval().encode(x).detach())
