"""Copies of networks that remember something with a graph."""

import copy

import pytest
import torch
from torch import nn

from latentkit.explain.captum_adapter import captum_attribution
from latentkit.explain.randomisation import cascade
from latentkit.explain.robustness import compensated
from latentkit.explain.scores import unit
from latentkit.explain.twin import twin


class Keeps(nn.Module):
    """Keeps its output by itself and inside containers."""

    def __init__(self):
        super().__init__()
        self.linear, self.last, self.more = nn.Linear(3, 2), None, {}

    def forward(self, x):
        self.last = self.linear(x)
        self.more["outputs"] = [(self.last, x)]
        return self.last


def spectral():
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture(params=[Keeps, spectral])
def used(request):
    """A network after a recorded forward pass: copy.deepcopy refuses it."""
    torch.manual_seed(0)
    net = request.param()
    net(torch.randn(5, 3))
    with pytest.raises(RuntimeError, match="created explicitly by the user"):
        copy.deepcopy(net)
    return net.eval()


@pytest.mark.parametrize("share", [True, False])
def test_the_copy_gives_the_same_and_shares_what_is_asked(used, share):
    x = torch.randn(4, 3)
    other = twin(used, share)
    assert torch.equal(other(x), used(x))
    pairs = zip(
        [*used.parameters(), *used.buffers()], [*other.parameters(), *other.buffers()], strict=True
    )
    assert [a is b for a, b in pairs] == [share] * len([*used.parameters(), *used.buffers()])
    assert not {id(part) for part in used.modules()} & {id(part) for part in other.modules()}


def test_what_is_kept_stays_without_a_graph_and_as_one():
    net = Keeps()
    output = net(torch.ones(1, 3))
    other = twin(net)
    assert other.last.grad_fn is None
    assert torch.equal(other.last, output)
    assert other.last is other.more["outputs"][0][0]
    assert net.last is output
    assert output.grad_fn is not None


class Circle(Keeps):
    """Keeps its output in containers that hold each other, as links to and from a parent do."""

    def __init__(self):
        super().__init__()
        self.children_of = {"parent": self.more}
        self.more["child"] = [self.children_of]


def test_containers_that_hold_themselves():
    net = Circle()
    output = net(torch.ones(1, 3))
    other = twin(net)
    assert other.more["child"][0]["parent"] is other.more
    assert other.more is not net.more
    assert torch.equal(other.more["outputs"][0][0], output)
    assert other.more["outputs"][0][0].grad_fn is None


def test_all_that_copies_takes_such_networks(used):
    x = torch.randn(4, 3)
    torch.testing.assert_close(compensated(used, x, 0.5)(x + 0.5), used(x))
    for _, stage in cascade(used):
        assert stage(x).isfinite().all()
    used(x)
    pytest.importorskip("captum.attr")
    got = captum_attribution("Saliency", used, x, unit(1), abs=False)
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(used(leaf)[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(got, expected)
