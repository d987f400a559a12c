"""Layers by name, and layers that return more than a tensor."""

import re
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, fields

import pytest
import torch
from torch import nn

from latentkit.explain.gradients import slopes
from latentkit.explain.hooks import find_layer, watched
from latentkit.explain.lookup import choose, floating, substitute

Pair = namedtuple("Pair", ["first", "second"])


@dataclass(frozen=True)
class Frozen:
    hidden: torch.Tensor
    length: int = 3


@dataclass
class ModelOutput(OrderedDict):
    """A mapping whose keys are its fields too, as transformers' models return."""

    hidden: torch.Tensor = None
    other: torch.Tensor = None

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is not None:
                OrderedDict.__setitem__(self, field.name, getattr(self, field.name))

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        object.__setattr__(self, key, value)

    def __reduce__(self):
        return type(self), tuple(getattr(self, field.name) for field in fields(self))


# --- which layer


def test_names(encoder):
    assert find_layer(encoder, encoder[2]) == ("2", encoder[2])
    assert find_layer(encoder, "") == ("", encoder)
    compiled = torch.compile(nn.Sequential(encoder), backend="eager")
    for name in ("0.2", "_orig_mod.0.2"):
        assert find_layer(compiled, name) == ("0.2", encoder[2])
    shared = nn.ModuleDict({"one": encoder, "two": encoder, "two[0]": nn.ReLU()})
    assert find_layer(shared, "two.2") == ("two.2", encoder[2])
    assert find_layer(shared, "one[1][key]") == ("one[1][key]", encoder)
    assert find_layer(shared, "two[0]") == ("two[0]", shared["two[0]"])


def test_names_that_are_not_there(encoder):
    shared = nn.ModuleDict({"encoder": encoder})
    for name in ("encodr", "encodr[0]", "encoder.99"):
        with pytest.raises(ValueError, match=r"inside ModuleDict, got '.*'; nearest: 'encoder"):
            find_layer(shared, name)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning")
def test_torchscript_is_refused(encoder):
    for script in (torch.jit.script(encoder), torch.jit.trace(encoder, torch.ones(1, 3, 12, 10))):
        with pytest.raises(TypeError, match=r"layer '0.0' to be a Python module, got TorchScript"):
            find_layer(nn.Sequential(script), "0.0")


# --- which tensor


def build(kind, a, b):
    return {
        "tuple": lambda: (a, None, b),
        "list": lambda: [b, [a]],
        "named": lambda: Pair(Pair(b, "text"), a),
        "struct": lambda: torch.return_types.max((a, b)),
        "dict": lambda: {"b": b, "a": {"deep": (a,)}},
        "frozen": lambda: (Frozen(a), b),
        "model": lambda: ModelOutput(hidden=a, other=b),
        "packed": lambda: (nn.utils.rnn.PackedSequence(a, torch.ones(2).long()), b),
    }[kind]()


PATHS = {
    "tuple": "[0]",
    "list": "[1][0]",
    "named": "[1]",
    "struct": "[0]",
    "dict": "[a][deep][0]",
    "frozen": "[0][hidden]",
    "model": "[hidden]",
    "packed": "[0][0]",
}


@pytest.mark.parametrize("kind", PATHS)
def test_one_tensor_of_several(kind):
    a, b, new = torch.ones(2, 3), torch.zeros(2, 4), torch.ones(2, 3)
    output = build(kind, a, b)
    assert set(map(id, floating(output).values())) == {id(a), id(b)}
    assert choose(output, PATHS[kind], "layer") is a
    with pytest.raises(ValueError, match=r"one of the tensors 'layer\[.*'layer\[.*, got 'layer'"):
        choose(output, "", "layer")
    with pytest.raises(ValueError, match=r"got 'layer\[7\]'"):
        choose(output, "[7]", "layer")
    changed = substitute(output, a, new)
    assert type(changed) is type(output)
    assert choose(changed, PATHS[kind], "layer") is new
    assert choose(output, PATHS[kind], "layer") is a  # not changed in place
    assert any(tensor is b for tensor in floating(changed).values())
    if kind == "model":
        assert changed.hidden is changed["hidden"]


def test_the_only_tensor_needs_no_name():
    a, count = torch.ones(2, 3), torch.ones(2, dtype=torch.long)
    for output in (
        a,
        (a, None),
        (Frozen, a),
        [count, {"a": a}],
        {"last": a, "all": (a,)},
        Frozen(a),
    ):
        assert choose(output, "", "layer") is a
        changed = substitute(output, a, a + 1)
        assert all(tensor[0, 0] == 2 for tensor in floating(changed).values())
    with pytest.raises(ValueError, match=r"tensors 'layer' \(2, 3\), got 'layer\[0\]'"):
        choose(a, "[0]", "layer")


@pytest.mark.parametrize(
    ("output", "got"), [(None, "NoneType"), ((), "tuple"), (torch.ones(2).long(), "torch.int64")]
)
def test_no_tensor(output, got):
    with pytest.raises(TypeError, match=f"'layer' to return a floating-point tensor, got {got}"):
        choose(output, "", "layer")


# --- in the engine


class Rows(nn.Module):
    """Columns of a picture through a recurrent or attention layer, then a linear head."""

    def __init__(self, rows, through):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.rows, self.through = rows, through
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2)
        out = self.rows(x, x, x) if isinstance(self.rows, nn.MultiheadAttention) else self.rows(x)
        return self.head(self.through(out))


CASES = {
    "lstm": (lambda: nn.LSTM(4, 4, batch_first=True), "[0]", lambda out: out[0].square().mean(1)),
    "gru": (lambda: nn.GRU(4, 4, batch_first=True), "[0]", lambda out: out[0].square().mean(1)),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        "[0]",
        lambda out: out[0].square().mean(1),
    ),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        "",
        lambda out: out.square().mean(1),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_recurrent_and_attention_layers(kind):
    make, path, through = CASES[kind]
    torch.manual_seed(0)
    net, x = Rows(make(), through).eval(), torch.randn(3, 3, 7)
    with torch.no_grad():
        expected = net(x)
    with watched(net, ["conv", "rows" + path], x) as run:
        torch.testing.assert_close(run.output, expected)
        first, second = slopes(run.output[:, 1], run)
        assert run.layers == ("conv", "rows" + path)
        hidden = run.activations[1].detach().requires_grad_()
        net.head(hidden.square().mean(1))[:, 1].sum().backward()
        torch.testing.assert_close(second, hidden.grad)
    leaf = net.conv(x).detach().requires_grad_()
    rows = leaf.transpose(1, 2)
    out = net.rows(rows, rows, rows) if kind == "attention" else net.rows(rows)
    net.head(through(out))[:, 1].sum().backward()
    torch.testing.assert_close(first, leaf.grad)


def test_a_layer_with_several_tensors_must_be_named_in_full():
    net, x = Rows(nn.LSTM(4, 4, batch_first=True), lambda out: out[1][0][0]), torch.randn(3, 3, 7)
    message = r"'rows\[0\]' \(3, 7, 4\), 'rows\[1\]\[0\]' \(1, 3, 4\).*, got 'rows'"
    with pytest.raises(ValueError, match=message), watched(net, ["rows"], x):
        pass
    message = r"depends on layer 'rows\[0\]'"  # the head reads the state, not the outputs
    with pytest.raises(ValueError, match=message), watched(net, ["rows[0]"], x) as run:
        slopes(run.output[:, 0], run)
    message = r"'rows\[1\]\[0\]' to return one entry per sample, \(3, ...\), got \(1, 3, 4\)"
    with pytest.raises(ValueError, match=message), watched(net, ["rows[1][0]"], x):
        pass


TIME_FIRST = {
    "rnn": (nn.RNN(3, 3), "[0]"),
    "gru": (nn.GRU(3, 3), "[0]"),
    "state": (nn.LSTM(3, 3, num_layers=4, batch_first=True), "[1][0]"),
    "attention": (nn.MultiheadAttention(3, 1), "[0]"),
    "layer": (nn.TransformerEncoderLayer(3, 1, 8), ""),
    "encoder": (nn.TransformerEncoder(nn.TransformerEncoderLayer(3, 1, 8), 1, None, False), ""),
}


class Steps(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        attention = isinstance(self.layer, nn.MultiheadAttention)
        return self.layer(x, x, x) if attention else self.layer(x)


@pytest.mark.parametrize("kind", TIME_FIRST)
def test_as_many_steps_as_samples_are_not_taken_for_the_batch(kind):
    layer, path = TIME_FIRST[kind]
    message = (
        f"layer 'layer{re.escape(path)}' to return the batch first, got a {type(layer).__name__}"
    )
    with (
        pytest.raises(ValueError, match=message),
        watched(Steps(layer), ["layer" + path], torch.randn(4, 4, 3)),
    ):
        pass


def test_what_has_the_batch_first_all_the_same_is_taken():
    net = Steps(nn.MultiheadAttention(3, 1))
    with watched(net, ["layer[1]"], torch.randn(4, 4, 3)) as run:  # the weights of attention
        assert run.activations[0].shape == (4, 4, 4)
    turned = nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 3, batch_first=True))
    with watched(turned, ["1[0]"], torch.randn(4, 4, 3)) as run:
        assert run.activations[0].shape == (4, 4, 3)


@pytest.mark.parametrize("inplace", [True, False])
def test_two_tensors_of_one_layer(inplace):
    class Split(nn.Module):
        def forward(self, x):
            return {"even": x[:, ::2], "odd": (x[:, 1::2], len(x))}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.split = Split()

        def forward(self, x):
            parts = self.split(x)
            even, odd = parts["even"], parts["odd"][0]
            even = even.mul_(2) if inplace else even * 2
            return (even * odd).flatten(1)

    x = torch.randn(2, 4, 3)
    kept = x.clone()
    with watched(Net(), ["split[even]", "split[odd][0]"], x) as run:
        got = slopes(run.output.sum(1), run)
    assert torch.equal(got[0], 2 * kept[:, 1::2])
    assert torch.equal(got[1], 2 * kept[:, ::2])
    assert torch.equal(run.output, (2 * kept[:, ::2] * kept[:, 1::2]).flatten(1))


class Circle(nn.Module):
    """Returns a mapping that holds itself."""

    def forward(self, x):
        output = {"map": x.relu()}
        output["self"] = [output]
        return output


def test_a_container_that_holds_itself_is_read_and_not_copied():
    output = Circle()(torch.ones(1))
    assert list(floating(output)) == ["[map]"]
    assert choose(output, "", "circle") is output["map"]
    net = nn.Sequential(nn.Conv2d(1, 2, 1), Circle())
    with (
        pytest.raises(ValueError, match="do not hold themselves, got a dict that does; choose"),
        watched(net, ["1"], torch.ones(1, 1, 3, 3)),
    ):
        pass
