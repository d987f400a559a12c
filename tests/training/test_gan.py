"""The game of the two adversarial objectives, against the algorithms written out."""

import copy

import pytest
import torch
from torch.nn import functional

from latentkit.losses.adversarial import AdversarialLoss
from latentkit.models import dcgan
from latentkit.training import gan
from latentkit.training.adversarial import Adversarial

both = pytest.mark.parametrize("name", ["gan", "clustergan"])
SECOND = {"gan": ("generator",), "clustergan": ("generator", "encoder")}


@pytest.fixture
def x(few):
    return few().split("train")[:8][0]


def weights(module):
    return {k: v.clone() for k, v in module.named_parameters()}


def changed(module, before):
    return {k.split(".")[0] for k, v in module.named_parameters() if not torch.equal(v, before[k])}


@pytest.fixture
def steps(monkeypatch):
    """Record, for every step of either player, what moved and what got gradients."""
    seen = []

    def recording(kind, real):
        def step(training, *others):
            training.zero_grad(set_to_none=True)
            before = weights(training.model)
            real(training, *others)
            parameters = training.model.named_parameters()
            got = {k.split(".")[0] for k, p in parameters if p.grad is not None}
            seen.append((kind, int(training.iteration), changed(training.model, before), got))

        return step

    for kind in ("discriminator_step", "generator_step"):
        monkeypatch.setattr(Adversarial, kind, recording(kind, getattr(Adversarial, kind)))
    return seen


@both
@pytest.mark.parametrize("critic_steps", [1, 2, 3])
def test_the_generator_is_trained_in_every_nth_iteration(
    make, few, trainer, steps, name, critic_steps
):
    trainer(max_epochs=2).fit(make(name, critic_steps=critic_steps), few())
    due = [i for kind, i, *_ in steps if kind == "generator_step"]
    assert due == list(range(critic_steps - 1, 12, critic_steps))
    assert [i for kind, i, *_ in steps if kind == "discriminator_step"] == list(range(12))
    in_turn = [kind for kind, i, *_ in steps if i == due[0]]
    assert in_turn == ["discriminator_step", "generator_step"]


@both
def test_each_step_gives_gradients_to_its_own_player_and_moves_only_it(
    make, few, trainer, steps, name
):
    trainer().fit(make(name, critic_steps=2), few())
    assert len(steps) == 6 + 3
    for kind, _, moved, got in steps:
        own = {"discriminator"} if kind == "discriminator_step" else set(SECOND[name])
        assert moved == own
        assert got == own


def squared_gradients(discriminate, x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminate(x).sum(), x, create_graph=True)
    return slope.square().sum((1, 2, 3))


def adam_step(networks, loss, lr, betas):
    parameters = [p for network in networks for p in network.parameters()]
    optimizer = torch.optim.Adam(parameters, lr, betas, fused=False)
    optimizer.zero_grad()
    loss.backward(inputs=parameters)
    optimizer.step()


def written_out_gan(model, x, noise):
    """Goodfellow et al.'s losses with R1 of weight 2, lazily due in this iteration."""
    fake = model.decode(model.prior.sample(len(x), generator=noise))
    real, judged = model.discriminate(x), model.discriminate(fake.detach())
    loss = -functional.logsigmoid(real).mean() - functional.logsigmoid(-judged).mean()
    loss = loss + 4 * 2.0 * squared_gradients(model.discriminate, x).mean() / 2
    adam_step([model.discriminator], loss, 0.01, (0.0, 0.99))
    loss = -functional.logsigmoid(model.discriminate(fake)).mean()
    adam_step([model.generator], loss, 0.01, (0.0, 0.99))


def written_out_clustergan(model, x, noise):
    """Mukherjee et al.'s algorithm 1 with lambda 3, beta_n 5 and beta_c 7."""
    z = model.prior.sample(len(x), generator=noise)
    fake = model.decode(z)
    share = torch.rand(len(x), generator=noise).reshape(-1, 1, 1, 1)
    between = (share * x + (1 - share) * fake).detach()
    slope = squared_gradients(model.discriminate, between).sqrt()
    loss = model.discriminate(fake.detach()).mean() - model.discriminate(x).mean()
    adam_step([model.discriminator], loss + 3 * (slope - 1).square().mean(), 0.01, (0.5, 0.9))
    code = model.encoder(fake)
    loss = -model.discriminate(fake).mean() + 5 * (code[:, :3] - z[:, :3]).square().mean()
    loss = loss - 7 * (z[:, 3:] * code[:, 3:].log_softmax(1)).sum(1).mean()
    adam_step([model.generator, model.encoder], loss, 0.01, (0.5, 0.9))


WRITTEN_OUT = {
    "gan": (written_out_gan, {"penalty": 2.0}),
    "clustergan": (
        written_out_clustergan,
        {"penalty": 3.0, "beta_n": 5.0, "beta_c": 7.0, "critic_steps": 1},
    ),
}


@both
def test_an_iteration_is_the_algorithm_written_out(make, few, trainer, name):
    algorithm, settings = WRITTEN_OUT[name]
    training, data = make(name, lr=0.01, **settings), few()
    model, noise = copy.deepcopy(training.model), training.noise()
    before = copy.deepcopy(model.state_dict())
    loader = data.train_dataloader()
    loader.sampler.set_epoch(0)
    algorithm(model, next(iter(loader))[0], noise)
    trainer(limit_train_batches=1, limit_val_batches=0).fit(training, data)
    after = training.model.state_dict()
    moves = 0
    for key, wanted in model.state_dict().items():
        torch.testing.assert_close(after[key], wanted, rtol=1e-3, atol=1e-4, msg=key)
        moves += not torch.allclose(wanted.float(), before[key].float(), atol=5e-3)
    assert moves > 10  # an Adam step of 0.01 is seen by these tolerances


@both
def test_the_penalty_comes_when_it_is_due(make, few, trainer, name, monkeypatch):
    training, paid = make(name, penalty_every=4), []
    penalty = AdversarialLoss.weighted_penalty
    monkeypatch.setattr(
        AdversarialLoss,
        "weighted_penalty",
        lambda *a: (paid.append(int(training.iteration)), penalty(*a))[1],
    )
    runner = trainer(limit_val_batches=0)
    runner.fit(training, few())
    assert paid == [0, 4]
    assert runner.callback_metrics["train/penalty"] == training.seldom["train/penalty"]


@both
def test_losses_can_be_exchanged(make, few, trainer, name):
    for loss in ("nonsaturating", "wasserstein"):
        runner = trainer()
        runner.fit(make(name, loss=loss), few())
        assert all(v.isfinite() for v in runner.callback_metrics.values())


def test_evaluation_judges_the_average_and_the_same_latents_each_time(make, few, trainer):
    training, data = make("gan"), few()
    trainer(max_epochs=2).fit(training, data)
    first, again = (trainer().validate(training, data, verbose=False)[0] for _ in range(2))
    assert first == again
    training.eval()
    got = []
    for index, (x, _) in enumerate(data.val_dataloader()):
        z = training.prior.sample(len(x), generator=training.noise(index))
        got.append(training.discriminate(training.ema.average(z).sigmoid()))
    assert first["val/logit_fake"] == pytest.approx(torch.cat(got).mean().item(), abs=1e-5)


# -------------------------------------------------------------------------------------- ClusterGAN


def test_clusters_are_scored_over_the_whole_split(make, few, trainer):
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    training, data = make("clustergan"), few()
    got = trainer().validate(training, data, verbose=False)[0]
    x, labels = data.split("val")[:]
    clusters = training.model.eval().cluster(x)
    probability = training.model.code(x)[1].softmax(1)
    assert got["val/nmi"] == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-5)
    assert got["val/ari"] == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-5)
    assert got["val/clusters_used"] == len(clusters.unique())
    assert got["val/confidence"] == pytest.approx(probability.amax(1).mean().item(), abs=1e-5)
    assert training._probabilities == training._labels == []


def test_purity_needs_no_one_to_one_naming(make):
    training, seen = make("clustergan"), {}
    training.log_dict = lambda values, **_: seen.update({k: v.item() for k, v in values.items()})
    clusters = torch.tensor([7, 7, 3, 3, 4, 4])  # pure, but two of them share a label
    training._probabilities = [torch.nn.functional.one_hot(clusters, 10).float()]
    training._labels = [torch.tensor([0, 0, 1, 1, 1, 1])]
    training.on_test_epoch_end()
    assert seen["test/purity"] == 1
    assert seen["test/acc"] == pytest.approx(4 / 6)


def test_scores_of_clusters_that_are_known(make):
    training, seen = make("clustergan"), {}
    training.log_dict = lambda values, **_: seen.update({k: v.item() for k, v in values.items()})
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    clusters = torch.tensor([7, 7, 3, 3, 3, 5])  # five of six can be matched
    training._probabilities = [torch.nn.functional.one_hot(clusters, 10).float()]
    training._labels = [labels]
    training.on_test_epoch_end()
    assert seen["test/acc"] == pytest.approx(5 / 6)
    assert seen["test/purity"] == pytest.approx(5 / 6)
    assert seen["test/clusters_used"] == 3
    assert seen["test/confidence"] == 1


def test_without_labels_there_are_no_scores_but_usage(make, few, trainer):
    got = trainer().validate(make("clustergan"), few(labelled=False), verbose=False)[0]
    kept = {"logit_real", "logit_fake", "confidence", "clusters_used"}
    assert set(got) == {f"val/{k}" for k in kept}
    assert 1 <= got["val/clusters_used"] <= 10
    assert 0.1 <= got["val/confidence"] <= 1


@pytest.mark.parametrize("part", ["beta_n", "beta_c"])
def test_the_cycle_weights_reach_the_loss(make, part):
    training = make("clustergan")
    z = training.prior.sample(8, generator=training.noise())
    fake = training.model.decode(z).detach()
    losses = []
    for weight in (0.0, 1.0):
        setattr(training, part, weight)
        losses.append(training.generator_loss(z, fake, fake, training.noise()).item())
    key = {"beta_n": "train/cycle_n", "beta_c": "train/cycle_c"}[part]
    assert losses[1] - losses[0] == pytest.approx(training.seldom[key].item(), rel=1e-3)


def test_batch_norm_and_a_gradient_penalty_exclude_each_other():
    model = dcgan.DCGAN((1, 8, 8), 4, 4, 8, norm="batch")
    with pytest.raises(ValueError, match="without batch norm"):
        gan.GANTraining(model)
    gan.GANTraining(model, penalty=0.0)
