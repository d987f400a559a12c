import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import activation as activations
from torch.utils.checkpoint import checkpoint

from latentkit.explain.attribution import saliency
from latentkit.explain.cam import cam
from latentkit.explain.guided import deconvnet, guided_backpropagation, guided_grad_cam
from latentkit.explain.scores import unit


@pytest.fixture
def make_net():
    """Two in-place ReLUs, batch norm, pooling: 3x14x14 -> 5."""

    def make(inplace=True):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(inplace),
            nn.Conv2d(4, 6, 3, 2),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(54, 8),
            nn.ReLU(inplace),
            nn.Linear(8, 5),
        ).eval()

    return make


@pytest.fixture
def photos():
    return torch.randn(4, 3, 14, 14, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(guided_backpropagation, "GuidedBackprop"), (deconvnet, "Deconvolution")],
)
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_equals_captum_on_relu(make_net, photos, inplace, ours, theirs):
    attr = pytest.importorskip("captum.attr")
    expected = getattr(attr, theirs)(make_net(False)).attribute(photos, target=2)
    got = ours(make_net(inplace), photos, unit(2))
    torch.testing.assert_close(got, expected.detach())
    assert not torch.allclose(got, saliency(make_net(), photos, unit(2)))


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_guided_grad_cam_equals_captum(make_net, photos):
    attr = pytest.importorskip("captum.attr")
    net = make_net(False)
    with torch.no_grad():
        net[9].weight[2].abs_()  # so that the map is not all negative
    expected = attr.GuidedGradCam(net, net[2]).attribute(photos, 2, interpolate_mode="bilinear")
    got = guided_grad_cam(net, "2", photos, unit(2))
    assert got.abs().flatten(1).amax(1).min() > 0
    torch.testing.assert_close(got, expected.detach(), atol=1e-9, rtol=1e-4)
    where = cam(net, "2", photos, unit(2)).relu().resized((14, 14)).raw[:, None]
    guided = guided_backpropagation(net, photos, unit(2))
    torch.testing.assert_close(got, where * guided, atol=0, rtol=0)


# --- the rule in closed form, for every rectifier


class Stack(nn.Module):
    """Linear, an activation, linear, the activation again, linear: 6 -> 3."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.activation = activation
        self.double()

    def forward(self, x):
        h = self.activation(self.first(x))
        return self.last(self.activation(self.second(h)))


def by_hand(net, f, x, k, gated):
    """The rule of the module docstring, written out for two activations; f' by differences."""

    def back(signal, before):
        passed = signal.clamp(min=0)
        step = 1e-6
        slope = (f(before + step) - f(before - step)) / (2 * step)
        return passed * slope * (before > 0) if gated else passed

    with torch.no_grad():
        a = net.first(x)
        b = net.second(f(a))
        signal = net.last.weight[k].expand(len(x), -1)
        return back(back(signal, b) @ net.second.weight, a) @ net.first.weight


X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)

RECTIFIERS = [
    nn.ReLU(),
    nn.LeakyReLU(0.3),
    nn.PReLU(init=0.2).double(),
    nn.RReLU(),
    nn.ELU(),
    nn.CELU(1.3),
    nn.SELU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Softplus(),
    nn.Hardswish(),
    nn.ReLU6(),
]


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("f", RECTIFIERS, ids=lambda f: type(f).__name__)
def test_every_rectifier_in_closed_form(f, gated):
    method = guided_backpropagation if gated else deconvnet
    expected = by_hand(Stack(f), f.eval(), X, 1, gated)
    for inplace in (False, True):
        if inplace and hasattr(f, "inplace"):
            f.inplace = True
        net = Stack(f)
        got = method(net, X, unit(1))
        torch.testing.assert_close(got, expected, atol=1e-7, rtol=1e-6)
        assert (got - saliency(net, X, unit(1))).abs().max() > 0.01  # unlike captum on LeakyReLU
    if hasattr(f, "inplace"):
        assert f.inplace
        f.inplace = False


CALLS = {
    "F.relu": functional.relu,
    "F.relu in place": lambda h: functional.relu(h, inplace=True),
    "F.relu_": functional.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "by keyword": lambda h: torch.relu(input=h),
    "method": lambda h: h.relu(),
    "method in place": lambda h: h.relu_(),
    "the name before is used": lambda h: (h.relu_(), h)[1],
    "in place on a view": lambda h: functional.relu_(h.view(-1, 2, 4)).flatten(1),
    "in place on parts": lambda h: (functional.relu_(h[:, :3]), functional.relu_(h[:, 3:]), h)[2],
    "aten": torch.ops.aten.relu,
    "aten overload": torch.ops.aten.relu.default,
    "clamp": lambda h: h.clamp(min=0),
    "clamp_": lambda h: h.clamp_(0),
    "clamp_min": lambda h: torch.clamp_min(h, 0.0),
    "leaky without slope": lambda h: functional.leaky_relu(h, 0.0),
    "checkpoint": lambda h: checkpoint(lambda t: (t * 1).relu_(), h, use_reentrant=False),
    "checkpoint around more": lambda h: checkpoint(
        lambda t: (t * 2).relu() / 2, h, use_reentrant=False
    ),
    "changed in place after": lambda h: functional.elu(h.clamp(min=0)).mul_(1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_however_relu_is_called(name):
    for method in (guided_backpropagation, deconvnet):
        expected = method(Stack(nn.ReLU()), X, unit(0))
        got = method(Stack(CALLS[name]), X, unit(0))
        torch.testing.assert_close(got, expected)


def test_the_functions_of_leaky_relu_in_place():
    expected = guided_backpropagation(Stack(nn.LeakyReLU(0.1)), X, unit(0))
    for f in (
        lambda h: functional.leaky_relu(h, 0.1),
        lambda h: functional.leaky_relu_(h, 0.1),
        lambda h: torch._C._nn.leaky_relu(h, 0.1),
        lambda h: functional.prelu(h, h.new_tensor([0.1])),
    ):
        torch.testing.assert_close(guided_backpropagation(Stack(f), X, unit(0)), expected)


# --- what has no rule is refused by its name


class OwnReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]


REFUSED = {
    "Sigmoid": nn.Sigmoid(),
    "Tanh": torch.tanh,
    "Hardtanh": nn.Hardtanh(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "LogSigmoid": nn.LogSigmoid(),
    "Softshrink": nn.Softshrink(),
    "Hardshrink": nn.Hardshrink(),
    "Threshold": nn.Threshold(0.1, 0.0),
    "Clamp": lambda h: h.clamp(-1, 1),
    "ClampMin": lambda h: h.clamp_min(0.5),
    "Maximum": lambda h: torch.maximum(h, 0.1 * h),
    "Abs": lambda h: (h + h.abs()) / 2,
    "Sin": torch.sin,
    "Erf": lambda h: h * (1 + torch.erf(h)),
    "gt": lambda h: torch.where(h > 0, h, 0.1 * h),
    "ge": lambda h: h * (h >= 0),
    "sign": lambda h: h * torch.sign(h),
    "OwnReLU": OwnReLU.apply,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_or_differentiated_as_asked(name):
    net = nn.Sequential(Stack(REFUSED[name]), nn.LeakyReLU().double(), nn.Linear(3, 3).double())
    with pytest.raises(ValueError, match=rf"got {name}; pass plain=\['{name}'\]"):
        guided_backpropagation(net, X, unit(0))
    got = deconvnet(net, X, unit(0), plain=[name])
    signal = net[2].weight[0].clamp(min=0).expand(len(X), -1)
    x = X.clone().requires_grad_()
    expected = torch.autograd.grad(net[0](x), x, signal)[0]
    torch.testing.assert_close(got, expected)


def test_no_activation_of_torch_is_silently_plain():
    """Each is treated, refused by name, or leaves nothing to treat."""
    treated = {type(f).__name__ for f in RECTIFIERS}
    for name in set(activations.__all__) - {"MultiheadAttention", "Softmax2d"}:
        arguments = {"Threshold": (0.1, 0.0), "Softmin": (1,), "Softmax": (1,), "LogSoftmax": (1,)}
        f = getattr(nn, name)(*arguments.get(name, ())).eval()
        net = nn.Sequential(nn.Linear(6, 6), f, nn.Linear(3 if name == "GLU" else 6, 3))
        if name in treated:
            guided_backpropagation(net, X.float(), unit(0))
            continue
        with pytest.raises(ValueError, match=r"got (none|Abs|[A-Z][a-z]+)"):
            guided_backpropagation(net, X.float(), unit(0))


def test_no_rectifier_at_all_is_an_error():
    net = nn.Sequential(nn.Linear(6, 3)).double()
    with pytest.raises(ValueError, match=r"got none: .*`attribution.saliency` gives"):
        guided_backpropagation(net, X, unit(0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiled_graphs_of_torchscript_are_refused():
    net = torch.jit.trace(Stack(nn.ReLU()), X)
    for _ in range(3):  # it optimises on the way
        with pytest.raises(ValueError, match=r"got (Relu|DifferentiableGraph)"):
            guided_backpropagation(net, X, unit(0))


def test_only_what_lies_between_input_and_score_counts():
    class Gated(Stack):
        def forward(self, x):
            scale = torch.sigmoid(self.first.bias).mean()  # of parameters alone
            blind = torch.tanh(x.detach()).sum() * 0
            return torch.cat([scale * super().forward(x) + blind, torch.tanh(x)], 1)

    torch.manual_seed(0)
    net = Gated(nn.ReLU())
    scale = torch.sigmoid(net.first.bias).mean().item()
    expected = scale * guided_backpropagation(Stack(nn.ReLU()), X, unit(0))
    with pytest.raises(ValueError, match="got Tanh"):  # the columns share one output
        guided_backpropagation(net, X, unit(0))
    got = guided_backpropagation(net, X, unit(0), plain=["Tanh"])
    torch.testing.assert_close(got, expected)

    class Several(Gated):
        def forward(self, x):
            return Stack.forward(self, x), torch.tanh(x)

    got = guided_backpropagation(Several(nn.ReLU()), X, lambda output: output[0][:, 0])
    torch.testing.assert_close(got * scale, expected)


def test_nothing_stays_behind(make_net, photos):
    net = make_net()
    with torch.no_grad():
        before = net(photos)
    guided_backpropagation(net, photos, unit(0))
    with torch.no_grad():
        assert torch.equal(net(photos), before)
    assert all(part.inplace for part in net.modules() if isinstance(part, nn.ReLU))
    x = photos.clone().requires_grad_()
    gradient = torch.autograd.grad(net(x)[:, 0].sum(), x)[0]
    assert torch.equal(gradient, saliency(net, photos, unit(0)))
    with pytest.raises(ZeroDivisionError):
        guided_backpropagation(net, photos, lambda output: output[:, 0] / (1 // 0))
    x = photos.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(net(x)[:, 0].sum(), x)[0], gradient)


def test_nan_is_reported_not_gated_away(photos, make_net):
    net = make_net()
    with torch.no_grad():
        net[7].weight[0, 0] = float("nan")
    assert guided_backpropagation(net, photos, unit(0)).isnan().any()


def test_autocast_and_compiled_modules(make_net, photos):
    net = make_net()
    expected = guided_backpropagation(net, photos, unit(0))
    compiled = torch.compile(net, backend="eager")
    torch.testing.assert_close(guided_backpropagation(compiled, photos, unit(0)), expected)
    with torch.autocast("cpu", torch.bfloat16):
        half = guided_backpropagation(net, photos, unit(0))
    assert (half - expected).abs().max() < 0.1 * expected.abs().max()
