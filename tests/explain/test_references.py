import copy

import pytest
import torch
from torch import nn

from latentkit.explain.attribution import integrated_gradients, saliency
from latentkit.explain.cam import cam
from latentkit.explain.occlusion import occlusion
from latentkit.explain.references import (
    Chain,
    difference,
    outputs,
    reconstruction_error,
    similarity,
)
from latentkit.explain.scores import unit
from latentkit.models.vae import VAE

OUTPUT = torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]])


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return VAE((1, 16, 16), latent_dim=3, width=2, hidden=6, norm="batch")


@pytest.fixture
def pictures():
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


# --- similarity


def test_similarity_by_hand():
    one = torch.tensor([3.0, 0.0, 4.0])
    assert similarity(one)(OUTPUT).tolist() == [11, 16]
    assert similarity(one[None])(OUTPUT).tolist() == [11, 16]
    got = similarity(one, "cosine")(OUTPUT).tolist()
    assert got == pytest.approx([11 / 15, 16 / 25])
    each = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    assert similarity(each)(OUTPUT).tolist() == [1, 8]
    assert similarity(each.reshape(2, 1, 3))(OUTPUT.reshape(2, 1, 3)).tolist() == [1, 8]


def test_label_free_importance_is_the_gradient_with_one_side_held(encoder, images):
    """Crabbe and van der Schaar: d <f(x), f(x~)> / d x~ at x~ = x, half of d |f|^2 / d x."""
    got = saliency(encoder, images, similarity(outputs(encoder, images)))
    half = saliency(encoder, images, lambda output: output.square().sum(1) / 2)
    torch.testing.assert_close(got, half)
    torch.testing.assert_close(  # (N, K) latents weigh the maps of the units
        got,
        torch.stack(
            [
                outputs(encoder, images)[:, k, None, None, None]
                * saliency(encoder, images, unit(k))
                for k in range(5)
            ]
        ).sum(0),
        atol=1e-6,
        rtol=1e-4,
    )


def test_cosine_to_the_image_itself_is_at_its_top(encoder, images):
    kept = outputs(encoder, images)
    own = saliency(encoder, images, similarity(kept, "cosine"))
    other = saliency(encoder, images, similarity(kept.flip(0), "cosine"))
    assert own.abs().max() < 1e-5
    assert other.abs().max() > 1e-2
    torch.testing.assert_close(
        similarity(kept, "cosine")(kept), torch.ones(4), atol=1e-6, rtol=1e-6
    )


def test_outputs_are_those_of_eval_mode_and_constant(encoder, images):
    with torch.no_grad():
        expected = encoder(images)
    kept = outputs(encoder.train(), images)
    torch.testing.assert_close(kept, expected)
    assert not kept.requires_grad
    assert encoder.training


# --- reconstruction


def test_reconstruction_error_by_hand():
    x = torch.zeros(2, 1, 2, 2)
    x[1] = 2.0
    assert reconstruction_error(x)(torch.ones(2, 1, 2, 2)).tolist() == [4, 4]
    assert reconstruction_error(x)(x).tolist() == [0, 0]


def test_a_chain_is_the_model_run_through_and_can_be_looked_into(vae, pictures):
    chain = Chain(vae.encode, vae.decode)
    assert len(chain.parts) == 1  # the two have one owner
    x = pictures.clone().requires_grad_()
    vae.eval()
    error = (vae.decode(vae.encode(x)) - pictures).square().sum((1, 2, 3))
    expected = torch.autograd.grad(error.sum(), x)[0]
    vae.train()
    score = reconstruction_error(pictures)
    torch.testing.assert_close(saliency(chain, pictures, score), expected)
    assert vae.training
    layer = f"encoder.{vae.encoder.layers[0]}"
    by_name = cam(chain, f"parts.0.{layer}", pictures, score)
    by_module = cam(chain, vae.get_submodule(layer), pictures, score)
    assert by_name.raw.any()
    assert torch.equal(by_name.raw, by_module.raw)


def test_chains_of_modules_and_functions_and_their_copies(vae, pictures):
    chain = Chain(vae.encode, lambda z: 2 * z, nn.Identity())
    assert [type(part) for part in chain.parts] == [VAE, nn.Identity]
    twin = copy.deepcopy(chain)
    with torch.no_grad():
        twin.eval().parts[0].encoder.load_state_dict(
            {key: 0 * value for key, value in vae.encoder.state_dict().items()}
        )
        assert not twin(pictures).any()  # the copy runs its own parts
        torch.testing.assert_close(chain.eval()(pictures), 2 * vae.encode(pictures))


# --- difference


def test_a_difference_moves_the_value_and_what_is_complete_but_not_the_gradient(encoder, images):
    other = images.flip(0)
    score = difference(unit(2), outputs(encoder, other))
    with torch.no_grad():
        expected = encoder(images)[:, 2] - encoder(other)[:, 2]
        torch.testing.assert_close(score(encoder(images)), expected)
    assert torch.equal(saliency(encoder, images, score), saliency(encoder, images, unit(2)))
    along = integrated_gradients(encoder, images, score, other, steps=400)
    torch.testing.assert_close(along.sum((1, 2, 3)), expected, atol=1e-3, rtol=1e-2)
    swapped = occlusion(encoder, images, unit(2), (12, 10), fill=other)
    torch.testing.assert_close(swapped[:, 0, 0, 0], expected)
    one = difference(unit(2), outputs(encoder, other[:1]))
    with torch.no_grad():
        first = encoder(images)[:, 2] - encoder(other[:1])[:, 2]
        torch.testing.assert_close(one(encoder(images)), first)


def test_names():
    names = [similarity(OUTPUT), similarity(OUTPUT, "cosine"), reconstruction_error(OUTPUT)]
    names.append(difference(unit(2), OUTPUT))
    assert [score.__qualname__ for score in names] == [
        "similarity(dot)",
        "similarity(cosine)",
        "reconstruction_error",
        "difference(unit(2))",
    ]


def test_a_first_operation_in_place_does_not_reach_the_input(converts, images):
    kept, (net, plain) = images.clone(), converts
    for _ in range(2):
        assert torch.equal(outputs(net, images), outputs(plain, images))
    assert torch.equal(images, kept)


def test_errors():
    with pytest.raises(ValueError, match="'dot' or 'cosine', got 'l2'"):
        similarity(OUTPUT, "l2")
    for score in (similarity(OUTPUT[:, :2]), reconstruction_error(OUTPUT[:, :2])):
        with pytest.raises(ValueError, match=r"each sample, \(2, 3\), or for all, \(3,\), got"):
            score(OUTPUT)
        with pytest.raises(TypeError, match=r"got tuple; score the part you mean"):
            score((OUTPUT, OUTPUT))
    with pytest.raises(ValueError, match=r"each sample, \(2,\).*got \(3,\)"):
        difference(unit(0), torch.zeros(3, 3))(OUTPUT)
