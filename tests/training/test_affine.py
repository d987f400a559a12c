import torch

from latentkit.training.affine import random_affine


def keyed(seed=0):
    return torch.Generator().manual_seed(seed)


def test_changes_are_small_and_each_images_own():
    """A centred bump stays one bump of about its mass, moved by no more than the shift allows."""
    line = torch.linspace(-1, 1, 32)
    bump = (-(line[:, None] ** 2 + line**2) / 0.05).exp()[None, None].expand(200, 1, 32, 32)
    moved = random_affine(bump, keyed())
    assert moved.shape == bump.shape
    mass = moved.sum((1, 2, 3))
    assert 0.6 < (mass / bump[0].sum()).min() < (mass / bump[0].sum()).max() < 1.6
    centre = torch.stack(
        [(moved * line).sum((1, 2, 3)) / mass, (moved * line[:, None]).sum((1, 2, 3)) / mass], 1
    )
    assert 0.1 < centre.abs().max() < 0.25
    assert len({tuple(c) for c in centre.round(decimals=4).tolist()}) > 190


def test_it_is_keyed_by_the_generator_and_differentiable():
    x = torch.rand(4, 2, 8, 8, requires_grad=True)
    before = torch.get_rng_state()
    first, again, other = (random_affine(x, keyed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first.sum().backward()
    assert x.grad.abs().sum() > 0


def test_the_consistency_term_reaches_the_encoder_alone(make, few, trainer):
    training, (x, _) = make("clustergan", consistency=1.0), few().split("train")[:8]
    training.log = lambda *_, **__: None
    training._shared_information(x, training.noise()).backward()
    got = {k.split(".")[0] for k, p in training.model.named_parameters() if p.grad is not None}
    assert got == {"encoder"}


def test_the_consistency_term_is_maximised(make, few, trainer):
    shared = []
    for weight in (0.0, 30.0):
        training, data = make("clustergan", consistency=weight, lr=1e-2, critic_steps=1), few()
        trainer(max_epochs=8, limit_val_batches=0).fit(training, data)
        training.log = lambda *_, **__: None
        shared.append(
            training._shared_information(data.split("train")[:][0], training.noise()).item()
        )
    assert shared[1] > shared[0] + 0.2
