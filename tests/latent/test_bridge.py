import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from latentkit.latent.bridge import LatentTransformer
from latentkit.models.autoencoder import Autoencoder


class AnyWidth:
    """A model of images of any size: the mean and spread of each, and back."""

    def encode(self, x):
        flat = x.flatten(1).double()
        return torch.stack([flat.mean(1), flat.std(1, correction=0)], 1)

    def decode(self, z):
        return z.mean(1)[:, None, None].expand(-1, 1, 4)

    def __repr__(self):  # part of the names of tests, which must be the same in all processes
        return "AnyWidth()"


class Flat(nn.Module):
    """A linear autoencoder of 8 x 8 images."""

    def __init__(self, width=5):
        super().__init__()
        self.width = width
        self.down, self.up = nn.Linear(64, width), nn.Linear(width, 64)

    def encode(self, x):
        return self.down(x.flatten(1))

    def decode(self, z):
        return self.up(z).reshape(-1, 1, 8, 8)


# scikit-learn builds and fits it on tables of many widths, so with a model that takes them all. No
# check is expected to fail.
@parametrize_with_checks([LatentTransformer(AnyWidth())])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def digits():
    x, y = load_digits(return_X_y=True)
    return x[:300].astype(np.float32) / 16, y[:300]


@torch.no_grad()
def test_it_is_encode_and_decode():
    x, _ = digits()
    torch.manual_seed(0)
    model = Autoencoder((1, 8, 8), 3, 4, 8).eval()
    transformer = LatentTransformer(model, batch_size=37).fit(x)  # the model knows its shape
    images = torch.from_numpy(x).reshape(-1, 1, 8, 8)
    z = transformer.transform(x)
    assert np.allclose(z, model.encode(images).numpy(), atol=1e-5)
    back = transformer.inverse_transform(z)
    assert np.allclose(back, model.decode(torch.from_numpy(z)).flatten(1).numpy(), atol=1e-5)
    assert list(transformer.get_feature_names_out()) == ["z0", "z1", "z2"]
    assert transformer.transform(x.astype(np.float64)).dtype == np.float64


def test_it_goes_through_a_pipeline_and_a_grid_search():
    x, y = digits()
    torch.manual_seed(0)
    narrow, wide = Flat(1), Flat(30)
    steps = [("z", LatentTransformer(narrow, (1, 8, 8))), ("c", LogisticRegression())]
    search = GridSearchCV(
        Pipeline(steps), {"z__model": [narrow, wide], "c__C": [1.0, 1e3]}, cv=3
    ).fit(x, y)
    assert search.best_params_["z__model"].width == 30
    assert search.best_score_ > 0.8
    assert search.score(x, y) > 0.9


def test_a_clone_has_its_own_copy_of_the_model():
    first = LatentTransformer(Flat(), (1, 8, 8), 3)
    second = clone(first)
    assert (second.shape, second.batch_size) == ((1, 8, 8), 3)
    assert second.model is not first.model
    assert torch.equal(second.model.down.weight, first.model.down.weight)


def test_latents_of_any_shape_are_flattened():
    class Maps:
        def encode(self, x):
            return x[:, :, ::2, ::2]

        def decode(self, z):
            return z.repeat_interleave(2, -1).repeat_interleave(2, -2)

    x, _ = digits()
    transformer = LatentTransformer(Maps(), (1, 8, 8)).fit(x)
    z = transformer.transform(x)
    assert transformer.latent_shape_ == (1, 4, 4)
    assert z.shape == (300, 16)
    assert transformer.inverse_transform(z).shape == (300, 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: LatentTransformer().fit(x), "a model with encode, got NoneType"),
        (lambda x: LatentTransformer(Flat(), (1, 7, 8)).fit(x), r"rows of 56 numbers.*got 64"),
        (lambda x: LatentTransformer(Flat(), (1, 8, 8), 0).fit(x), "batch_size >= 1"),
        (lambda x: LatentTransformer(Flat(), (1, 8, 8)).fit(x / 0), "NaN|infinity"),
        (
            lambda x: LatentTransformer(Flat(), (1, 8, 8)).fit(x).inverse_transform(x),
            r"latents \(N, 5\), got \(300, 64\)",
        ),
        (
            lambda x: LatentTransformer(lambda: 0, (1, 8, 8)).fit(x),
            "a model with encode, got function",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered in divide")
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(digits()[0])


def test_there_may_be_no_way_back():
    class Half:
        def encode(self, x):
            return x.flatten(1)[:, :3]

    x, _ = digits()
    transformer = LatentTransformer(Half()).fit(x)
    with pytest.raises(ValueError, match="Half has no decode"):
        transformer.inverse_transform(transformer.transform(x))
