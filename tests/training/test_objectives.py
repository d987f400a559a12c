"""What holds for all four objectives: loops, counting, logging, noise, delegation."""

import pytest
import torch
from torch import nn

from latentkit.protocols import Decoder, Discriminator, Encoder, HasPrior
from latentkit.testing import check_model
from latentkit.training import base
from latentkit.training.base import arguments
from latentkit.training.vae import VAETraining

NAMES = ["autoencoder", "vae", "gan", "clustergan"]
each = pytest.mark.parametrize("name", NAMES)
LOGGED = {
    "autoencoder": {"mse", "psnr"},
    "vae": {"negative_elbo", "nll", "kl", "active_units", "psnr"},
    "gan": {"logit_real", "logit_fake"},
    "clustergan": {
        *("logit_real", "logit_fake", "confidence", "clusters_used"),
        *("acc", "purity", "nmi", "ari"),
    },
}
PREDICTED = {"autoencoder": (16, 4), "vae": (16, 4), "gan": (16,), "clustergan": (16, 13)}


@each
def test_all_loops_run(make, few, trainer, name):
    training, runner, data = make(name), trainer(max_epochs=2), few()
    runner.fit(training, data)
    logged = runner.callback_metrics
    assert {k.removeprefix("val/") for k in logged if k.startswith("val/")} == LOGGED[name]
    assert any(k.startswith("train/") for k in logged)
    assert all(v.isfinite() for v in logged.values())
    assert training.monitor is None or training.monitor in logged
    tested = runner.test(training, data, verbose=False)[0]
    assert set(tested) == {f"test/{k}" for k in LOGGED[name]}
    predicted = torch.cat(runner.predict(training, data))
    assert predicted.shape == PREDICTED[name]
    assert predicted.isfinite().all()


@each
def test_iterations_count_batches(make, few, trainer, name):
    training, runner = make(name), trainer(max_epochs=2)
    runner.fit(training, few())
    assert int(training.iteration) == 12
    steps = {"gan": 24, "clustergan": 12 + 6}  # of both optimizers
    assert runner.global_step == steps.get(name, 12)
    assert "iteration" in training.state_dict()


@pytest.mark.parametrize("name", ["autoencoder", "vae", "clustergan"])
def test_a_few_images_are_learned_by_heart(make, few, trainer, name):
    """The loss that is minimised falls: of ClusterGAN, the cycle's (a GAN minimises nothing)."""
    settings = {"lr": 1e-2, "critic_steps": 1} if name == "clustergan" else {"lr": 1e-2}
    watched = {"autoencoder": "train/mse", "vae": "train/loss", "clustergan": "train/cycle_c"}[name]
    training, data = make(name, **settings), few()
    losses, given = [], training.report
    training.report = lambda values, **options: (
        losses.extend(v.item() for k, v in values.items() if k == watched),
        given(values, **options),
    )
    trainer(max_epochs=10).fit(training, data)
    assert len(losses) == 60
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_a_gans_discriminator_learns_to_tell(make, few, trainer):
    training = make("gan", lr=5e-3, critic_steps=1000, penalty=0.0)  # a generator that stands still
    runner = trainer(max_epochs=5)
    runner.fit(training, few())
    assert runner.callback_metrics["train/discriminator"] < 0.5  # it starts at 2 log 2 = 1.39
    assert runner.callback_metrics["val/logit_real"] > runner.callback_metrics["val/logit_fake"] + 2


@each
def test_an_objective_offers_its_models_protocols(make, name):
    training = make(name).eval()
    kinds = (Encoder, Decoder, Discriminator, HasPrior)
    offered = {kind for kind in kinds if isinstance(training, kind)}
    assert offered == {kind for kind in kinds if isinstance(training.model, kind)}
    assert check_model(training, torch.rand(4, 1, 8, 8))


@each
def test_hyper_parameters_are_plain(make, name):
    kept = arguments(make(name, lr=0.25, seed=7).hparams)
    assert (kept["lr"], kept["seed"]) == (0.25, 7)
    assert "model" not in kept
    for value in kept.values():
        assert isinstance(value, int | float | str | tuple)


@each
def test_two_runs_are_equal_bit_for_bit_and_a_seed_makes_a_difference(make, few, trainer, name):
    runs = []
    for seed, globally in ((0, 1), (0, 2), (5, 1)):
        training = make(name, seed=seed)
        torch.manual_seed(globally)  # nothing may come from the global state
        trainer().fit(training, few())
        runs.append(training.state_dict())
    assert all(torch.equal(v, runs[1][k]) for k, v in runs[0].items())
    drawn = name != "autoencoder"
    assert any(not torch.equal(v, runs[2][k]) for k, v in runs[0].items()) == drawn


@each
def test_training_leaves_the_global_random_state_alone(make, few, trainer, name):
    training = make(name)
    before = torch.get_rng_state()
    trainer().fit(training, few())
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_everything_moves(make, few, trainer, name):
    training = make(name)
    before = {k: v.clone() for k, v in training.named_parameters()}
    trainer(max_epochs=2).fit(training, few())
    still = {k for k, v in training.named_parameters() if torch.equal(v, before[k])}
    # A Wasserstein critic's last bias cancels out of its loss.
    assert still <= ({"model.discriminator.head.bias"} if name == "clustergan" else set())
    assert all(m.training for m in training.model.modules())  # as before validation


def test_a_model_that_was_loaded_goes_on_learning_its_statistics(make, few, trainer):
    model = make("vae").model.eval()  # as `latentkit.load` gives it
    trainer().fit(VAETraining(model), few())
    assert model.state_dict()["encoder.stages.0.1.num_batches_tracked"] == 6


def test_adam_is_told_what_the_settings_say(make):
    gan, vae = make("gan", lr=0.01, betas=(0.3, 0.7)), make("vae", lr=0.02)
    for optimizer in gan.configure_optimizers():
        assert optimizer.defaults["lr"] == 0.01
        assert optimizer.defaults["betas"] == (0.3, 0.7)
    assert vae.configure_optimizers().defaults["lr"] == 0.02


def test_each_network_has_one_optimizer(make):
    for name, second in (("gan", ["generator"]), ("clustergan", ["generator", "encoder"])):
        training = make(name)
        groups = [
            {id(p) for group in optimizer.param_groups for p in group["params"]}
            for optimizer in training.configure_optimizers()
        ]
        wanted = [
            {id(p) for n in names for p in getattr(training.model, n).parameters()}
            for names in (["discriminator"], second)
        ]
        assert groups == wanted


# ------------------------------------------------------------------------------------------- noise


def draw(generator):
    return tuple(torch.rand(4, generator=generator).tolist())


def test_noise_is_keyed_by_seed_and_iteration(make):
    training = make("vae")
    first = draw(training.noise())
    torch.rand(3)
    assert draw(training.noise()) == first  # nothing drawn before matters
    seen = {first}
    training.iteration += 1
    seen.add(draw(training.noise()))
    training.iteration += 1
    seen.add(draw(training.noise()))
    seen.add(draw(training.noise(0)))
    seen.add(draw(training.noise(2)))  # evaluation, at a batch number equal to the iteration
    seen.add(draw(make("vae", seed=1).noise()))
    assert len(seen) == 6


def test_processes_share_out_what_one_would_draw(make, monkeypatch):
    training = make("vae")

    def shares(world):
        for rank in range(world):
            monkeypatch.setattr(base, "process", lambda rank=rank: (rank, world))
            noise = training.noise()
            yield training.share(12 // world, lambda n: torch.rand(n, 2, generator=noise))  # noqa: B023

    (whole,) = shares(1)
    assert torch.equal(torch.stack(list(shares(3)), 1).flatten(0, 1), whole)


def test_noise_of_evaluation_does_not_depend_on_how_long_was_trained(make):
    training = make("vae")
    before = draw(training.noise(3))
    training.iteration += 100
    assert draw(training.noise(3)) == before


# ---------------------------------------------------------------------------------- wrong networks


def test_a_gan_needs_its_networks(make):
    from latentkit.training.gan import GANTraining

    model = nn.Module()
    model.generator = nn.Linear(1, 1)
    with pytest.raises(
        ValueError, match="networks generator, discriminator, got Module without discriminator"
    ):
        GANTraining(model)
    with pytest.raises(ValueError, match="got Module without generator, discriminator"):
        GANTraining(nn.Module())


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "gan", "clustergan"])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_iteration(make, few, trainer, kind):
    with pytest.raises(ValueError, match=r"the loss is (nan|inf|-inf) at iteration \d+"):
        trainer(max_epochs=20).fit(make(kind, lr=1e20), few())


# ------------------------------------------------------------------------------------------ logging


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_a_smaller_last_batch_weighs_less(make, few, trainer, name, monkeypatch):
    """Trap 17: the mean is over images, so it does not depend on how they are batched."""
    if name == "vae":  # no noise, which is drawn by the batch
        monkeypatch.setattr(VAETraining, "share", lambda self, n, draw: torch.zeros(n, 4))
    scores = []
    for size in (16, 11):  # 16 images: one batch, or 11 and 5
        data = few()
        data.batch_size = size
        scores.append(trainer().validate(make(name), data, verbose=False)[0])
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_psnr_is_that_of_the_reconstructions(make, few, trainer, name):
    from torchmetrics.functional.image import peak_signal_noise_ratio

    training, data = make(name), few()
    got = trainer().validate(training, data, verbose=False)[0]["val/psnr"]
    x, _ = data.split("val")[:]
    with torch.no_grad():
        rebuilt = training.eval().decode(training.encode(x))
    over = {"data_range": 1.0, "dim": (1, 2, 3), "reduction": "elementwise_mean"}
    assert got == pytest.approx(peak_signal_noise_ratio(rebuilt, x, **over).item(), rel=1e-5)
