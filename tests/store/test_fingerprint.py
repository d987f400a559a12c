from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from latentkit.models.clustergan import ClusterGAN
from latentkit.store import fingerprint, load, save

GLOBAL = nn.Linear(3, 3)


def test_it_is_sixteen_digits_that_do_not_move(model, tmp_path):
    first = fingerprint(model)
    assert len(first) == 16
    assert int(first, 16) >= 0
    assert first == fingerprint(model)
    save(model, tmp_path / "m.safetensors")
    assert fingerprint(load(tmp_path / "m.safetensors")) == first


def test_training_mode_and_gradients_do_not_matter(vae):
    first = fingerprint(vae)
    vae.train()
    vae.zero_grad()
    vae.decode(torch.randn(2, 3)).sum().backward()
    assert fingerprint(vae.requires_grad_(False).eval()) != first  # batch norm saw a batch
    again = fingerprint(vae)
    vae.train().requires_grad_(True)
    assert fingerprint(vae) == again


def test_memory_layout_does_not_matter(vae):
    first, weight = fingerprint(vae), vae.encoder.head.weight
    weight.data = weight.data.T.contiguous().T
    assert not weight.is_contiguous()
    assert fingerprint(vae) == first


def test_every_weight_and_buffer_matters(model):
    seen = {fingerprint(model)}
    for value in model.state_dict().values():
        value.view(-1)[:1].add_(1)
        seen.add(fingerprint(model))
    assert len(seen) == 1 + len(model.state_dict())


def test_arguments_matter_where_the_weights_are_the_same():
    models = [ClusterGAN((1, 8, 8), 2, 3, sigma, width=2, hidden=8) for sigma in (0.1, 0.2)]
    models[1].load_state_dict(models[0].state_dict())
    assert fingerprint(models[0]) != fingerprint(models[1])


def test_the_class_matters():
    a, b = nn.Linear(2, 2, bias=False), nn.Bilinear(1, 2, 2, bias=False)
    weights = {"weight": torch.eye(2)}
    a.load_state_dict(weights)
    b.weight = nn.Parameter(torch.eye(2))
    assert fingerprint(a) != fingerprint(b)


# --------------------------------------------------------------------------- models of other people


def closing_over(there, back):
    return SimpleNamespace(encode=lambda x: there(x), decode=lambda z: back(z).sigmoid())


class Plain:
    def __init__(self, net):
        self.net = net

    def encode(self, x):
        return self.net(x)


def bound(there, back):
    return SimpleNamespace(encode=there.forward, decode=back.forward)


def modules(there, back):
    return SimpleNamespace(encode=there, decode=back)


def partials(there, back):
    def run(net, x):
        return net(x)

    return SimpleNamespace(encode=partial(run, there), decode=partial(run, net=back))


def of_plain_objects(there, back):
    return SimpleNamespace(encode=Plain(there).encode, decode=Plain(back).encode)


def of_nested_functions(there, back):
    def forth(x):
        return there(x)

    return SimpleNamespace(encode=lambda x: forth(x), decode=lambda z, nets=(back,): nets[0](z))


@pytest.mark.parametrize(
    "make", [closing_over, bound, modules, partials, of_plain_objects, of_nested_functions]
)
def test_the_modules_behind_functions_are_found(make):
    there, back, other = nn.Linear(3, 2), nn.Linear(2, 3), nn.Linear(2, 3)
    first = fingerprint(make(there, back))
    assert fingerprint(make(there, back)) == first
    assert fingerprint(make(there, other)) != first
    assert fingerprint(make(nn.Linear(3, 2), back)) != first


def test_plain_objects_with_modules():
    net = nn.Linear(2, 2)
    assert fingerprint(Plain(net)) == fingerprint(Plain(net)) != fingerprint(Plain(nn.Linear(2, 2)))


def test_functions_that_use_a_module_of_their_file():
    model = SimpleNamespace(encode=lambda x: GLOBAL(x))
    first = fingerprint(model)
    with torch.no_grad():
        GLOBAL.bias.add_(1)
    assert fingerprint(model) != first


def test_functions_that_close_over_tensors():
    def model(weight):
        return SimpleNamespace(encode=lambda x: x @ weight)

    assert fingerprint(model(torch.eye(2))) == fingerprint(model(torch.eye(2)))
    assert fingerprint(model(torch.eye(2))) != fingerprint(model(torch.ones(2, 2)))


def test_arrays_that_a_fitted_object_holds():
    def model(seed):
        data = np.random.default_rng(seed).normal(size=(20, 3))
        pca = PCA(2).fit(data)
        return SimpleNamespace(encode=pca.transform, decode=pca.inverse_transform)

    assert fingerprint(model(0)) == fingerprint(model(0)) != fingerprint(model(1))


def test_objects_that_refer_to_each_other_end():
    a, b = Plain(nn.Linear(2, 2)), Plain(None)
    a.other, b.other = b, a
    assert fingerprint(a) == fingerprint(a)


@pytest.mark.gpu
def test_the_device_does_not_matter(vae):
    assert fingerprint(vae) == fingerprint(vae.to("cuda"))
