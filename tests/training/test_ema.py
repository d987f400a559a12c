import copy

import pytest
import torch
from torch import nn

from latentkit.training.ema import EMA, with_generator


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def moved(module, by):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by)
    return module


def slow_average(decay, snapshots):
    """The definition, written out for one number after another."""
    average = [list(values) for values in snapshots[0]]
    for n, weights in enumerate(snapshots[1:]):
        d = min(decay, (1 + n) / (10 + n))
        average = [
            [d * a + (1 - d) * w for a, w in zip(old, new, strict=True)]
            for old, new in zip(average, weights, strict=True)
        ]
    return average


@pytest.mark.parametrize("decay", [0.995, 0.15, 0.0])
def test_the_average_is_its_definition(decay):
    module = net()
    ema = EMA(module, decay)
    numbers = lambda: [p.detach().double().flatten().tolist() for p in module.parameters()]  # noqa: E731
    snapshots = [numbers()]
    for update in range(5):
        moved(module, torch.randn(()))
        snapshots.append(numbers())
        ema.update(module, update)
    for got, wanted in zip(ema.average.parameters(), slow_average(decay, snapshots), strict=True):
        assert got.flatten().tolist() == pytest.approx(wanted, abs=1e-5)


def test_two_updates_in_closed_form():
    """d = 1/10, then 2/11: ((w0 / 10 + 0.9 w1) 2 + 9 w2) / 11."""
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    ema = EMA(module, 0.995)
    for update, weight in enumerate((2.0, 5.0)):
        module.weight.data.fill_(weight)
        ema.update(module, update)
    assert ema.average.weight.item() == pytest.approx((2 * (0.1 + 1.8) + 45) / 11)


def test_late_updates_use_the_decay():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    ema = EMA(module, 0.9)
    module.weight.data.fill_(1.0)
    ema.update(module, 10_000)
    assert ema.average.weight.item() == pytest.approx(0.1)


def test_buffers_are_copied():
    module = net()
    ema = EMA(module, 0.9)
    module(torch.randn(16, 2) * 5)
    ema.update(module, 0)
    for mine, other in zip(ema.average.buffers(), module.buffers(), strict=True):
        assert torch.equal(mine, other)
        assert mine.data_ptr() != other.data_ptr()
    assert module[1].num_batches_tracked == 1


def test_the_average_is_always_in_evaluation_and_never_trained():
    module = net()
    holder = nn.ModuleDict({"net": module, "ema": EMA(module, 0.9)})
    holder.train()
    assert module.training
    assert not any(m.training for m in holder["ema"].modules())
    assert not any(p.requires_grad for p in holder["ema"].parameters())
    assert all(p.requires_grad for p in module.parameters())
    assert module.training


def test_the_average_shares_no_memory_with_the_network():
    module = net()
    ema, before = EMA(module, 0.9), copy.deepcopy(module.state_dict())
    moved(module, 1.0)
    for k, v in ema.average.state_dict().items():
        assert torch.equal(v, before[k])


def test_a_view_generates_with_the_average_and_leaves_the_model_alone():
    model = nn.ModuleDict({"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)})
    own, other = model["generator"], nn.Linear(2, 2)
    view = with_generator(model, other)
    assert view["generator"] is other
    assert view["discriminator"] is model["discriminator"]
    assert model["generator"] is own
    assert type(view) is type(model)


@pytest.mark.parametrize("name", ["gan", "clustergan"])
def test_an_objective_generates_with_the_average(make, few, trainer, name):
    training = make(name)
    trainer(max_epochs=2).fit(training, few())
    average, raw = training.ema.average, training.model.generator
    assert not torch.equal(*(next(m.parameters()) for m in (average, raw)))
    portable = training.portable()
    assert portable.generator is average
    assert training.model.generator is raw
    z = training.prior.sample(3)
    assert torch.equal(training.decode(z), average(z).sigmoid())
    training.eval()
    assert not torch.allclose(training.decode(z), training.model.decode(z), atol=1e-6)


@pytest.mark.parametrize("name", ["gan", "clustergan"])
def test_the_average_moves_once_for_each_generator_step(make, few, trainer, monkeypatch, name):
    seen = []
    real = EMA.update
    monkeypatch.setattr(EMA, "update", lambda self, m, n: (seen.append(n), real(self, m, n))[0])
    trainer(max_epochs=2).fit(make(name, critic_steps=3), few())
    assert seen == [0, 1, 2, 3]  # 12 batches
