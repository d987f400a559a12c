import numpy as np
import pytest
import torch
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.decomposition import (
    NMF,
    PCA,
    FastICA,
    KernelPCA,
    LatentDirichletAllocation,
    SparsePCA,
    TruncatedSVD,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from latentkit.latent.bridge import LatentTransformer
from latentkit.latent.decompositions import DecompositionEncoder, DecompositionModel, from_sklearn
from latentkit.latent.derivative import pushforward
from latentkit.latent.interpolate import lerp
from latentkit.latent.invert import invert
from latentkit.latent.render import decode_path
from latentkit.testing import check_model

SHAPE = (1, 8, 8)


def digits():
    return torch.from_numpy(datasets.load_digits().images[:300, None] / 16)


def texts():
    """Real text that ships with scikit-learn: paragraphs on five data sets, and which one."""
    loaders = (
        datasets.load_iris,
        datasets.load_wine,
        datasets.load_breast_cancer,
        datasets.load_digits,
        datasets.load_diabetes,
    )
    parts = [[p for p in load().DESCR.split("\n\n") if len(p) > 120] for load in loaders]
    topics = [k for k, found in enumerate(parts) for _ in found]
    return [p for found in parts for p in found], np.array(topics)


@pytest.mark.parametrize(
    "decomposition",
    [
        PCA(5, random_state=0),
        PCA(5, whiten=True, random_state=0),
        TruncatedSVD(5, random_state=0),
        NMF(5, random_state=0, max_iter=1000),
        FastICA(5, random_state=0, max_iter=1000),
        LatentDirichletAllocation(5, random_state=0, max_iter=3),
        KernelPCA(5, kernel="rbf", gamma=0.05, fit_inverse_transform=True, random_state=0),
        SparsePCA(3, max_iter=5, random_state=0),
        make_pipeline(StandardScaler(), PCA(5, random_state=0)),
        StandardScaler(),
    ],
)
def test_every_decomposition_keeps_the_contract(decomposition):
    x = digits()
    model = from_sklearn(decomposition.fit(x.flatten(1).numpy()), SHAPE)
    names = check_model(model, x[:6])
    assert "decode: images lie in [0, 1]" in names
    assert "encode and decode: shapes agree" in names
    assert model.encode(x[:2].float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("decomposition", "both"),
    [
        (PCA(5, random_state=0), True),
        (PCA(5, whiten=True, random_state=0), True),
        (TruncatedSVD(5, random_state=0), True),
        (NMF(5, random_state=0, max_iter=1000), False),
    ],
)
def test_linear_ones_are_scikit_learns_and_carry_gradients(decomposition, both):
    x = digits()
    rows = x.flatten(1).numpy()
    model = from_sklearn(decomposition.fit(rows), SHAPE)
    z = torch.from_numpy(decomposition.transform(rows))
    assert torch.allclose(model.encode(x), z, atol=1e-10)
    back = torch.from_numpy(decomposition.inverse_transform(z.numpy())).clamp(0, 1)
    assert torch.allclose(model.decode(z).flatten(1), back, atol=1e-10)
    change = pushforward(model.decode, z[:2], torch.ones(2, 5).double())
    step = (model.decode(z[:2] + 1e-6) - model.decode(z[:2] - 1e-6)) / 2e-6
    inside = ((here := model.decode(z[:2])) > 1e-3) & (here < 1 - 1e-3)  # off the clamp's corners
    assert inside.double().mean() > 0.5
    assert torch.allclose(change[inside], step[inside], atol=1e-6)
    found = invert(model.decode, here, z[:2] + 0.1, steps=60, lr=0.02)
    assert (found.history[-1] < 0.1 * found.history[0]).all()
    if both:
        change = pushforward(model.encode, x[:2], x[2:4])
        assert torch.allclose(change, model.encode(x[:2] + x[2:4]) - model.encode(x[:2]))


def test_pca_is_the_singular_value_decomposition():
    x = digits()
    model = from_sklearn(PCA(64).fit(x.flatten(1).numpy()), SHAPE)
    centred = x.flatten(1) - x.flatten(1).mean(0)
    axes = torch.linalg.svd(centred).Vh
    assert torch.allclose(model.encode(x)[:, :3].abs(), (centred @ axes.T)[:, :3].abs(), atol=1e-8)
    assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-8)
    path = lerp(model.encode(x[:2]), model.encode(x[2:4]), 5)
    images = decode_path(model.decode, path)
    assert images.shape == (2, 5, *SHAPE)
    assert torch.allclose(images[:, 2], (x[:2] + x[2:4]) / 2, atol=1e-8)


def test_latent_semantic_analysis_of_real_text():
    """Paragraphs of one description lie nearer to each other than to those of the others."""
    words, topics = texts()
    table = TfidfVectorizer(stop_words="english").fit_transform(words)
    model = from_sklearn(TruncatedSVD(8, random_state=0).fit(table), (1, table.shape[1]))
    x = torch.from_numpy(table.toarray())[:, None]
    assert isinstance(model, DecompositionModel)
    check_model(model, x[:5])
    z = torch.nn.functional.normalize(model.encode(x), dim=1)
    alike = z @ z.T
    same = torch.from_numpy(topics[:, None] == topics)
    other = alike[~same].mean()
    same.fill_diagonal_(False)
    assert alike[same].mean() > other + 0.1
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(topics))
    control = shuffled[:, None] == shuffled
    control.fill_diagonal_(False)
    assert abs(alike[control].mean() - alike[~control].mean()) < 0.1


def test_topics_of_real_text():
    words, _ = texts()
    counter = CountVectorizer(stop_words="english", min_df=2)
    table = counter.fit_transform(words)
    topics = LatentDirichletAllocation(5, random_state=0).fit(table)
    model = from_sklearn(topics, (1, table.shape[1]))
    x = torch.from_numpy(table.toarray()).double()[:, None]
    check_model(model, x[:5])
    shares = model.encode(x)
    assert torch.allclose(shares.sum(1), torch.ones(len(x)).double())
    words_of = model.decode(torch.eye(5).double())[:, 0]
    assert torch.allclose(words_of.sum(1), torch.ones(5).double())
    assert torch.allclose(model.decode(shares)[:, 0], shares @ words_of)
    # A text's words are likelier under its own shares of topics than others'.
    log = model.decode(shares)[:, 0].log() @ x[:, 0].T
    assert (log.diagonal() > log.mean(0)).double().mean() > 0.9


def test_it_is_a_model_for_the_other_bridge():
    x = digits().flatten(1).numpy()
    pca = PCA(5, random_state=0).fit(x)
    transformer = LatentTransformer(from_sklearn(pca, SHAPE)).fit(x)
    assert np.allclose(transformer.transform(x), pca.transform(x), atol=1e-5)


@pytest.mark.parametrize(
    "decomposition",
    [
        KernelPCA(5, kernel="rbf", gamma=0.05, fit_inverse_transform=True, random_state=0),
        make_pipeline(StandardScaler(), PCA(5, random_state=0)),
    ],
)
def test_what_has_no_components_goes_back_as_scikit_learn_does(decomposition):
    x = digits()
    model = from_sklearn(decomposition.fit(x.flatten(1).numpy()), SHAPE)
    assert isinstance(model, DecompositionModel)
    z = decomposition.transform(x.flatten(1).numpy())
    back = torch.from_numpy(decomposition.inverse_transform(z)).clamp(0, 1)
    assert torch.allclose(model.decode(model.encode(x)).flatten(1), back, atol=1e-9)
    assert (model.decode(model.encode(x)) - x).abs().mean() < 0.15
    with pytest.raises(ValueError, match=r"latents \(N, 5\), got \(2, 4\)"):
        model.decode(torch.zeros(2, 4))


@pytest.mark.parametrize(
    "decomposition",
    [
        KMeans(5, n_init=1),
        KernelPCA(5, random_state=0),
        make_pipeline(Normalizer(), PCA(5, random_state=0)),  # lengths are gone
    ],
)
def test_without_a_way_back_there_is_no_decode(decomposition):
    model = from_sklearn(decomposition.fit(digits().flatten(1).numpy()), SHAPE)
    assert type(model) is DecompositionEncoder
    assert not hasattr(model, "decode")
    assert model.encode(digits()).shape == (300, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: from_sklearn(PCA(2), SHAPE), "a fitted decomposition, got PCA"),
        (lambda x: from_sklearn(TSNE(), SHAPE), "with transform, got TSNE"),
        (lambda x: from_sklearn(PCA(2).fit(x), (1, 7, 8)), r"of 64 numbers.*\(1, 7, 8\) of 56"),
        (lambda x: from_sklearn(PCA(2).fit(x), SHAPE).encode(torch.zeros(2, 64)), r"got \(2, 64\)"),
        (
            lambda x: from_sklearn(PCA(2).fit(x), SHAPE).decode(torch.zeros(2, 3)),
            r"latents \(N, 2\), got \(2, 3\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(digits().flatten(1).numpy())
