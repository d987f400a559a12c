import torch

from latentkit.losses.clustering import mutual_information
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
    training, (x, _) = make("clustergan", consistency=1.0, beta_n=0.0), few().split("train")[:8]
    training.beta_c = 0.0
    fake = training.model.decode(training.prior.sample(8, generator=training.noise()))
    gradients = []
    for weight in (1.0, 3.0):
        training.consistency = weight
        training.model.zero_grad()
        training.generator_loss(training.prior.sample(8), fake, x, training.noise()).backward(
            retain_graph=True
        )
        named = training.model.named_parameters()
        gradients.append({k: p.grad.clone() for k, p in named if p.grad is not None})
    changed = {
        k.split(".")[0] for k, v in gradients[0].items() if not torch.equal(v, gradients[1][k])
    }
    assert changed == {"encoder"}


def test_the_consistency_term_is_maximised(make, few, trainer):
    shared = []
    for weight in (0.0, 30.0):
        training, data = make("clustergan", consistency=weight, lr=1e-2, critic_steps=1), few()
        trainer(max_epochs=8, limit_val_batches=0).fit(training, data)
        x = data.split("train")[:][0]
        views = training.model.code(torch.cat([x, random_affine(x, keyed())]))[1].softmax(1)
        shared.append(mutual_information(*views.chunk(2)).item())
    assert shared[1] > shared[0] + 0.2
