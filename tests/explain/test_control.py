"""Models whose networks have learned nothing: what is random in them, and what is as it was."""

import threading
from types import SimpleNamespace

import torch
from torch import nn

from latentkit.explain.control import untrained
from latentkit.models.clustergan import ClusterGAN
from latentkit.protocols import Part


def draw(*size):
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def test_the_generator_stays_and_the_networks_are_random():
    model = ClusterGAN((1, 16, 16), continuous=3, classes=3, width=4, hidden=16)
    z = model.prior.sample(4, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    blanks = [untrained(model, number) for number in (0, 0, 1)]
    x = model.decode(z)
    for blank in blanks:
        assert torch.equal(blank.decode(z), x)
        parts, own = blank.explainable(), model.explainable()
        assert set(parts) == {"encoder", "discriminator"}
        for name, part in parts.items():
            assert part.layers == own[name].layers
            assert not torch.equal(part.module(x), own[name].module(x))
        assert not torch.equal(blank.encode(x), model.encode(x))
    codes = [blank.encode(x) for blank in blanks]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def guarded():
    """A layer that cannot be copied."""
    layer = nn.Linear(8, 2)
    layer.turn = threading.Lock()
    return layer


def test_what_has_no_weights_or_no_copy_has_no_control():
    part = Part(nn.Linear(8, 2), ("",))
    for encode in (lambda x: x[:, :2], nn.Identity(), guarded()):
        model = SimpleNamespace(
            decode=lambda z: z, encode=encode, explainable=lambda: {"encoder": part}
        )
        blank = untrained(model, 0)
        assert not hasattr(blank, "encode")
        assert "encoder" not in blank.explainable()  # it need not be what encode runs


def test_an_encoder_that_is_a_module_has_one():
    encode = nn.Linear(8, 2)
    blank = untrained(SimpleNamespace(decode=lambda z: z, encode=encode), 0)
    assert blank.encode(draw(3, 8)).shape == (3, 2)
    assert not torch.equal(blank.encode(draw(3, 8)), encode(draw(3, 8)))
    assert blank.explainable() == {}


def test_a_decorated_encode_is_found_by_what_it_is_and_not_by_its_name():
    def doubled(function):
        def inner(self, x):
            return 2 * function(self, x)

        return inner

    class Decorated(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 2)

        @doubled
        def encode(self, x):
            return self.layer(x)

        def decode(self, z):
            return z

    blank = untrained(Decorated(), 0)
    assert blank.encode(draw(3, 8)).shape == (3, 2)
