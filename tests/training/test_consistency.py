"""Clusters of real images before the game: many heads, K-means, and the start they give."""

import pytest
import torch

from latentkit.layers import ConvEncoder
from latentkit.losses.clustering import mutual_information
from latentkit.metrics.clustering import accuracy
from latentkit.models.clustergan import ClusterGAN
from latentkit.training.clustergan import ClusterGANTraining
from latentkit.training.consistency import FINE, FINE_HEADS, HEADS, Heads, adopt_clusters


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ConvEncoder((1, 8, 8), 5, width=2, hidden=6)


def warming(warmup, **settings):
    torch.manual_seed(0)
    model = ClusterGAN((1, 8, 8), 3, 10, 1.0, width=4, hidden=16, encoder_norm="batch")
    settings = {"consistency": 1.0, "loss": "nonsaturating", "critic_steps": 1, **settings}
    return ClusterGANTraining(model, warmup=warmup, **settings)


def test_all_heads_are_scored_alike(encoder):
    heads = Heads(encoder, 3)
    a, b = torch.randn(2, 40, 6)
    sizes = [3] * HEADS + [FINE] * FINE_HEADS
    one, other = (torch.split(heads.linear(v), sizes, dim=1) for v in (a, b))
    each = [mutual_information(p.softmax(1), q.softmax(1)) for p, q in zip(one, other, strict=True)]
    wanted = torch.stack(each[:HEADS]).mean() + torch.stack(each[HEADS:]).mean()
    torch.testing.assert_close(heads.shared_information(a, b), wanted)


def test_the_encoder_tells_the_clusters_apart_that_k_means_finds(encoder):
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(3, 6, generator=generator)
    labels = torch.arange(3).repeat(50)
    features = centres[labels] + torch.randn(150, 6, generator=generator)
    before = encoder.head.weight.clone(), encoder.head.bias.clone()
    adopt_clusters(encoder, features, 3, seed=0)
    logits = encoder.head(features)[:, -3:]
    assert accuracy(labels, logits.argmax(1)) == 1
    assert logits.softmax(1).amax(1).mean() > 0.9
    assert torch.equal(encoder.head.weight[:2], before[0][:2])
    assert torch.equal(encoder.head.bias[:2], before[1][:2])
    nearest = torch.cdist(features, centres).argmin(1)
    assert accuracy(nearest, logits.argmax(1)) == 1  # the boundaries are halfway


def test_until_the_warm_up_ends_the_generator_plays_the_plain_game(few, trainer):
    """Its steps are those of a run without cycles; afterwards they are not."""
    runs = [warming(6), warming(6, beta_n=9.0, beta_c=9.0)]
    for epochs, same in ((1, True), (2, False)):
        for training in runs:
            trainer(max_epochs=epochs).fit(training, few())
        weights = [dict(t.model.named_parameters()) for t in runs]
        equal = {k: torch.equal(weights[0][k], weights[1][k]) for k in weights[0]}
        assert (
            all(equal.values())
            if same
            else not any(
                v for k, v in equal.items() if k.startswith("generator") and "bias" not in k
            )
        )
        runs = [warming(6), warming(6, beta_n=9.0, beta_c=9.0)]


def test_the_last_layer_waits_for_the_clusters(few, trainer):
    training = warming(6)
    before = training.model.encoder.head.weight.clone()
    trainer().fit(training, few())
    assert torch.equal(training.model.encoder.head.weight, before)
    training = warming(5)
    trainer().fit(training, few())
    assert not torch.equal(training.model.encoder.head.weight[-10:], before[-10:])


def test_going_on_before_and_after_the_clusters_are_found_repeats_the_run(few, trainer, tmp_path):
    from tests.training.test_resume import keeping

    for warmup in (4, 6, 9):  # within the first epoch, between both, within the second
        whole = warming(warmup)
        trainer(max_epochs=2).fit(whole, few())
        folder = tmp_path / f"{warmup}"
        trainer(**keeping(folder)).fit(warming(warmup), few())
        torch.manual_seed(5)
        resumed = warming(warmup)
        again = trainer(max_epochs=2, **keeping(folder / "b"))
        again.fit(resumed, few(), ckpt_path=folder / "last.ckpt", weights_only=True)
        wanted = whole.state_dict()
        assert any(k.startswith("heads.") for k in wanted)
        assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())


def test_the_heads_are_not_part_of_the_model(few, trainer, tmp_path):
    import latentkit
    from tests.training.test_resume import keeping

    trainer(**keeping(tmp_path)).fit(warming(3), few())
    assert not any("heads" in k for k in latentkit.load(tmp_path / "last.ckpt").state_dict())


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"warmup": 5, "consistency": 0.0}])
def test_a_warm_up_without_consistency_is_refused(settings):
    with pytest.raises(ValueError, match="expected warmup of 0, or above it with consistency"):
        warming(**settings)


def test_a_changed_warm_up_still_finds_the_clusters_once(few, trainer, tmp_path):
    from tests.training.test_resume import keeping

    trainer(**keeping(tmp_path)).fit(warming(9), few())
    path = tmp_path / "last.ckpt"
    early = warming(2)  # its end lies behind already
    trainer(max_epochs=2).fit(early, few(), ckpt_path=path, weights_only=True)
    assert early.adopted
    trainer(**keeping(tmp_path / "b")).fit(warming(3), few())
    late = warming(99)
    runner = trainer(max_epochs=2)
    runner.fit(late, few(), ckpt_path=tmp_path / "b/last.ckpt", weights_only=True)
    assert late.adopted
    assert "train/cycle_c" in runner.callback_metrics


def test_a_warm_up_without_a_data_module_is_refused(few, trainer):
    with pytest.raises(ValueError, match="give fit a LightningDataModule"):
        trainer().fit(warming(3), few().train_dataloader())
