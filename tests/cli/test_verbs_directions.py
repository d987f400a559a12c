"""Mixing, directions, explanations, reports, exports, and models that are not of this package."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import latentkit
from latentkit.cli.explaining import atlas, readings, scored
from latentkit.cli.explaining.affected import moved_in_words
from latentkit.cli.explaining.readings import Reader, _layers
from latentkit.cli.named.sources import open_source
from latentkit.cli.parser import Common
from latentkit.data.digits import Digits
from latentkit.data.shapes_render import FACTORS, SHAPES
from latentkit.explain import explanation
from latentkit.explain.cam import cam
from latentkit.explain.references import Chain, reconstruction_error
from latentkit.latent.activations import activation_grid, region_mask
from latentkit.models.clustergan import ClusterGAN
from latentkit.protocols import Part
from latentkit.store import Directions, fingerprint, load_directions, save_directions
from latentkit.views.pixels import grid, to_pil, with_parents
from tests.cli.conftest import SIDE, result

FACTORIES = """
import torch

class Styles:
    '''Three style layers of one number: blocks of four columns, coarse to fine.'''

    class prior:
        dim = 3

        @staticmethod
        def sample(n, /, *, generator=None):
            return torch.rand(n, 3, generator=generator)

    def decode(self, z):
        return self.from_styles(self.to_styles(z))

    def to_styles(self, z):
        return z[:, :, None]

    def from_styles(self, w):
        return w[:, None, None, :, 0].expand(-1, 1, 12, 3).repeat_interleave(4, 3)

class Pair:
    shape = (1, 16, 16)

    def __init__(self):
        self.linear = torch.nn.Linear(4, 256)
        torch.manual_seed(0)
        torch.nn.init.normal_(self.linear.weight)
        self.encode = lambda x: x.flatten(1)[:, 100:104]
        self.decode = lambda z: self.linear(z).sigmoid().view(-1, 1, 16, 16)

def styles():
    return Styles()

@torch.no_grad()
def pair():
    return Pair()
"""


@pytest.fixture(autouse=True)
def _unpainted(request, monkeypatch):
    """Figures are made but not painted, which takes longer than all else, unless a test asks."""
    if "painted" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", lambda _, path, **_how: Path(path).touch())


@pytest.fixture
def painted():
    """Pictures of this test can be looked at."""


@pytest.fixture
def foreign(place):
    """A module with factories of models that know nothing of this package."""
    (place / "foreign_models.py").write_text(FACTORIES)
    yield place
    __import__("sys").modules.pop("foreign_models", None)


def same_sheet(path, sheet):
    """Whether a written sheet is this tensor, its pixels perhaps repeated."""
    found, expected = np.array(Image.open(path)), np.array(to_pil(sheet))
    times = found.shape[0] // expected.shape[0]
    return np.array_equal(found, expected.repeat(times, 0).repeat(times, 1))


@torch.no_grad()
def test_mixing_by_region_is_activation_mixing_and_says_so(ok, place):
    layer = "generator.stages.0"
    words = ["--layers", layer, "--region", "left", "--rows", 2, "--columns", 3, "--seed", 4]
    ok("mix", "dcgan.safetensors", *words)
    model = latentkit.load("dcgan.safetensors")
    z = model.prior.sample(5, generator=torch.Generator().manual_seed(4))
    found = []
    hook = model.generator.stages[0].register_forward_hook(lambda _m, _i, o: found.append(o.shape))
    model.decode(z)
    hook.remove()
    mask = region_mask(found[0][1:], "left")
    images = activation_grid(model.decode, model, layer, z[:2], z[2:], mask)
    sheet = grid(with_parents(images, model.decode(z[:2]), model.decode(z[2:])), 4)
    assert same_sheet(place / "outputs/mix/mix.png", sheet)
    said = result(place / "outputs/mix/result.json")["numbers"]["mixed"]
    assert said == f"activation mixing of the left half at layer {layer}"


def test_mixing_an_autoencoder_starts_from_its_test_images(ok, place):
    ok("mix", "ae.safetensors", "--rows", 1, "--columns", 2)
    said = result(place / "outputs/mix/result.json")["numbers"]["mixed"]
    assert said.startswith("activation mixing of half of the channels at layer decoder.")


@torch.no_grad()
def test_a_style_decoder_mixes_by_styles(ok, foreign):
    words = ["--layers", "coarse", "2", "--rows", 2, "--columns", 2]
    ok("mix", "foreign_models:styles", *words)
    content = result(foreign / "outputs/mix/result.json")
    assert content["numbers"]["mixed"] == "style mixing of layers [0, 2]"
    z = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    rows, columns = z[:2], z[2:]
    mixed = columns[None].repeat(2, 1, 1)
    mixed[:, :, 1] = rows[:, None, 1]  # the middle layer is the row's

    def decode(w):
        return w[..., None, None, :].expand(*w.shape[:-1], 1, 12, 3).repeat_interleave(4, -1)

    sheet = grid(with_parents(decode(mixed), decode(rows), decode(columns)), 3)
    assert same_sheet(foreign / "outputs/mix/mix.png", sheet)


def test_styles_have_no_region(typed, foreign):
    done = typed("mix", "foreign_models:styles", "--region", "left")
    assert done.code == 2
    assert "this one mixes by --layers" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["encode"],
        ["reconstruct"],
        ["interpolate", "--from", "item:0", "--to", "item:1"],
        ["cluster", "--split", "train"],
        ["augment", "--per-class", "2"],
        ["directions", "--count", "2"],
        ["explain", "--images", "1"],
        ["evaluate", "--split", "train"],
    ],
)
def test_a_foreign_model_is_a_factory_and_some_data(ok, foreign, words):
    verb, *rest = words
    ok(verb, "foreign_models:pair", "--data", "small.npz", *rest)
    content = result(foreign / "outputs" / verb / "result.json")
    assert content["model"] == "foreign_models:pair"
    assert re.fullmatch("[0-9a-f]{16}", content["fingerprint"])
    if verb == "encode":
        with np.load(foreign / "outputs/encode/encode.npz") as found:
            assert found["z"].shape == (6, 4)
    if verb == "explain":  # an encoder without layers to look into, all the same
        assert set(content["numbers"]["retrieval"]) == {"encoder reading"}
        assert "use_completeness_error" in content["numbers"]
    if verb == "cluster":
        assert content["numbers"]["clusters"] == 10


def test_directions_are_unit_ordered_and_say_their_model(ok, place, digits):
    ok("directions", "vae.safetensors", "--count", 3, "--out", "d.safetensors")
    found, model = load_directions("d.safetensors"), latentkit.load("vae.safetensors")
    assert found.fingerprint == fingerprint(model) == result(place / "d.json")["fingerprint"]
    assert found.names == ("pc 1", "pc 2", "pc 3")
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(3), atol=1e-5, rtol=0)
    with torch.no_grad():
        z = model.encode(digits.split("train")[:][0])
    values, vectors = torch.linalg.eigh(torch.cov(z.T.double()))
    expected = vectors.flip(1)[:, :3].T
    torch.testing.assert_close(
        (found.vectors.double() * expected).sum(1).abs(), torch.ones(3).double(), atol=1e-3, rtol=0
    )
    share = (values.flip(0)[:3].sum() / values.sum()).item()
    assert result(place / "d.json")["numbers"]["explained_variance"] == pytest.approx(share, 1e-3)
    spread = torch.tensor(found.provenance["scale"]).double()
    torch.testing.assert_close(spread, values.flip(0)[:3].sqrt(), rtol=1e-3, atol=0)


@torch.no_grad()
def test_an_attribute_is_the_difference_of_means_and_is_measured_out_of_sample(ok, place, digits):
    words = ["--method", "attribute", "--start", "label:3", "--end", "label:8"]
    ok("directions", "ae.safetensors", *words)
    found = load_directions(place / "outputs/directions/directions.safetensors")
    x, y = digits.split("train")[:]
    model = latentkit.load("ae.safetensors")
    start, end = model.encode(x[y == 3]), model.encode(x[y == 8])
    d = end.mean(0) - start.mean(0)
    torch.testing.assert_close(found.vectors[0], d / d.norm(), atol=1e-4, rtol=0)
    numbers = result(place / "outputs/directions/result.json")["numbers"]
    halves = end[::2].mean(0) - start[::2].mean(0)
    wins = (end[1::2] @ halves)[:, None] > (start[1::2] @ halves)[None]
    assert numbers["held_out_auc"] == pytest.approx(wins.float().mean().item(), abs=0.03)
    assert found.names == ("label:3 to label:8",)


def test_groups_can_be_folders(ok, place, digits):
    x, y = digits.split("test")[:]
    for label in (0, 1):
        (place / f"group_{label}").mkdir()
        for k, image in enumerate(x[y == label][:4]):
            to_pil(image).save(place / f"group_{label}" / f"{k}.png")
    words = ["--method", "attribute", "--start", "group_0", "--end", "group_1"]
    ok("directions", "vae.safetensors", *words)
    numbers = result(place / "outputs/directions/result.json")["numbers"]
    assert (numbers["start_images"], numbers["end_images"]) == (4, 4)


def test_directions_of_another_model_are_refused_with_both_fingerprints(ok, typed, place):
    ok("directions", "vae.safetensors", "--out", "d.safetensors")
    done = typed("explain", "vae_b.safetensors", "--directions", "d.safetensors")
    assert done.code == 2
    for name in ("vae", "vae_b"):
        assert fingerprint(latentkit.load(f"{name}.safetensors")) in done.err
    assert not (place / "outputs").exists()


READINGS = {
    "vae": {"encoder reading"},
    "ae": {"encoder reading"},
    "dcgan": {"discriminator reading"},
    "clustergan": {"encoder reading", "discriminator reading"},
}
# A network of each kind always; the others, seconds each, with the slow tests.
MODELS = [
    n if n in ("vae", "clustergan") else pytest.param(n, marks=pytest.mark.slow) for n in READINGS
]


@pytest.mark.parametrize("name", MODELS)
def test_the_atlas_measures_every_reading(painted, ok, place, name):
    said = ok("explain", f"{name}.safetensors", "--images", 2)
    folder = place / "outputs" / "explain"
    pictures = {f"direction_{k}.png" for k in range(1, 5)} | {"explain.png"}
    assert {p.name for p in folder.iterdir()} == pictures | {"result.json"}
    for file in pictures:
        assert np.array(Image.open(folder / file).convert("L")).std() > 5  # not an empty page
    content = result(folder / "result.json")
    assert content["settings"]["directions"] == ("jacobian" if name == "dcgan" else "pca")
    assert content["settings"]["method"] == "pattern"
    assert content["settings"]["layers"] == {}  # it looks at the whole network
    measured = content["numbers"]["retrieval"]
    assert set(measured) == READINGS[name]
    for question, numbers in measured.items():
        assert numbers["chance"] == 0.2  # told from four rivals at least
        low, high = numbers["interval"]
        assert 0 <= low <= numbers["accuracy"] <= high <= 1
        assert len(numbers["per_direction"]) == 5
        assert np.mean(numbers["per_direction"]) == pytest.approx(numbers["accuracy"])
        assert f"{question}: direction retrieval" in said
        assert f"random weights {numbers['random_weights']:.2f})" in said
        assert len(numbers["gain_over_random_weights"]) == 2
        assert len(numbers["verdicts"]) == len(numbers["faithful"]) == 5
        for verdict, faithful in zip(numbers["verdicts"], numbers["faithful"], strict=True):
            assert "random weights" in verdict
            assert ("UNFAITHFUL here" in verdict) != faithful
        # None of these models was trained, so none may be vouched for.
        assert numbers["shortcomings"]
        assert "; ".join(numbers["shortcomings"]) in said


@pytest.mark.parametrize("method", ["natural", "hires-cam"])
def test_every_reading_has_a_control(ok, place, method):
    ok("explain", "clustergan.safetensors", "--images", 1, "--method", method)
    measured = result(place / "outputs/explain/result.json")["numbers"]["retrieval"]
    assert measured
    assert all(0 <= numbers["random_weights"] <= 1 for numbers in measured.values())


def test_a_control_that_reads_nothing_wins_nothing(ok, place, monkeypatch):
    """Features of random weights may be dead: then they do not change along any direction."""
    find, calls = readings.discriminator_direction, []

    def dead_but_the_first(part, *given):
        calls.append(part)
        if part.module is not calls[0].module:
            raise ValueError("expected features that change along d, got none")
        return find(part, *given)

    monkeypatch.setattr(readings, "discriminator_direction", dead_but_the_first)
    ok("explain", "dcgan.safetensors", "--images", 1, "--method", "grad-cam")
    measured = result(place / "outputs/explain/result.json")["numbers"]["retrieval"]
    assert measured["discriminator reading"]["random_weights"] == 0


def test_a_discriminator_is_said_to_keep_and_not_to_read(ok, monkeypatch):
    figures, draw = [], atlas.atlas

    def spy(*given):
        figures.append(draw(*given))
        return figures[-1]

    monkeypatch.setattr(atlas, "atlas", spy)
    ok("explain", "dcgan.safetensors", "--images", 1)
    for figure in figures:
        titles = [axes.get_title() for axes in figure.axes]
        assert "what the discriminator's\nfeatures keep of it" in titles
        assert not any("discriminator reads" in title for title in titles)


def test_a_readout_is_learned_from_other_latents_than_it_is_judged_on(ok, monkeypatch):
    learned, learn = [], explanation.discriminator_readout

    def spy(part, decode, z):
        learned.append(z)
        return learn(part, decode, z)

    monkeypatch.setattr(explanation, "discriminator_readout", spy)
    ok("explain", "dcgan.safetensors", "--images", 1, "--seed", 1)
    prior = latentkit.load("dcgan.safetensors").prior
    assert torch.equal(learned[0], prior.sample(1000, generator=torch.Generator().manual_seed(2)))
    ok("explain", "clustergan.safetensors", "--images", 1)
    source = open_source("clustergan.safetensors", Common())
    torch.testing.assert_close(learned[-1], source.latents(1000, 1, "train"))


def test_one_latent_dimension_is_not_measured(ok, place):
    model = latentkit.models.vae.VAE((1, SIDE, SIDE), latent_dim=1, width=4, hidden=8)
    latentkit.save(model, "one.safetensors", latentkit.store.read_about("vae.safetensors"))
    said = ok("explain", "one.safetensors", "--images", 1)
    assert "encoder reading: not measurable: one latent dimension" in said
    assert "UNFAITHFUL" not in said
    assert result(place / "outputs/explain/result.json")["numbers"]["retrieval"] == {}


def test_directions_along_one_line_are_refused(typed, place):
    axis = torch.eye(6)[:1]
    found = Directions(
        torch.cat([axis, -axis]),
        ("up", "down"),
        "axes",
        fingerprint(latentkit.load("vae.safetensors")),
    )
    save_directions(found, place / "d.safetensors")
    done = typed("explain", "vae.safetensors", "--directions", "d.safetensors")
    assert done.code == 2
    assert "got 'up' and 'down' along one line" in done.err


def test_a_plain_pair_has_a_use(ok, foreign):
    ok("explain", "foreign_models:pair", "--data", "small.npz", "--images", 1)
    numbers = result(foreign / "outputs/explain/result.json")["numbers"]
    assert len(numbers["use_completeness_error"]) == 4
    assert max(numbers["use_completeness_error"]) < 0.01  # it reads pixels: linear
    (told,) = numbers["retrieval"].values()
    assert told["random_weights"] is None
    assert all("without a control" in verdict for verdict in told["verdicts"])


def test_maps_that_are_not_finite_are_told(ok, typed, place):
    model = latentkit.load("vae.safetensors")
    layer = model.explainable()["encoder"].layers[0]
    with torch.no_grad():
        for parameter in model.explainable()["encoder"].module.parameters():
            parameter.zero_()
    latentkit.save(model, "dead.safetensors", latentkit.store.read_about("vae.safetensors"))
    said = ok("explain", "dead.safetensors", "--score", "unit:1", "--images", 3)
    assert "unit:1: 3 of 3 maps are empty or not finite" in said
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    assert numbers["degenerate"] == {"unit:1": 3}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    latentkit.save(model, "broken.safetensors", latentkit.store.read_about("vae.safetensors"))
    done = typed("explain", "broken.safetensors", "--score", "unit:1", "--images", 3)
    assert done.code == 2
    assert f"finite maps of unit(1) at layer '{layer}'" in done.err


@pytest.mark.parametrize("name", MODELS)
def test_what_each_direction_affects_is_in_numbers(ok, place, name):
    said = ok("explain", f"{name}.safetensors", "--images", 1)
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    assert len(numbers["affects"]) == len(numbers["names"]) == 4
    model = latentkit.load(f"{name}.safetensors")
    for direction, row in zip(numbers["names"], numbers["affects"], strict=True):
        assert 0 < row["area"] <= 1
        assert 0 < row["spread"] < 1
        assert all(0 < c < 1 for c in row["centre"])
        assert ("monotonicity" in row) == hasattr(model, "encode")
        assert ("clusters_moved" in row) == (name == "clustergan")
        assert ("discriminator_objects_at" in row) == hasattr(model, "discriminate")
        assert f"{direction}: affects {row['area']:.0%} of the image" in said
        assert f"), spread {row['spread']:.2f}" in said
    if name == "dcgan":
        assert "use_completeness_error" not in numbers
    else:
        errors = numbers["use_completeness_error"]
        assert len(errors) == 4
        assert np.median(errors) < 0.05  # the parts of the use add up to the change


def test_a_direction_that_changes_nothing_is_said_to(ok, place):
    model = latentkit.load("ae.safetensors")
    with torch.no_grad():
        next(p for n, p in model.decoder.named_parameters() if p.shape[-1:] == (6,))[:, 2] = 0
    latentkit.save(model, "dead.safetensors", latentkit.store.read_about("ae.safetensors"))
    found = Directions(torch.eye(6)[1:3], ("alive", "dead"), "axes", fingerprint(model))
    save_directions(found, place / "d.safetensors")
    said = ok("explain", "dead.safetensors", "--directions", "d.safetensors", "--images", 1)
    assert "dead: changes nothing; from -1 to +1 standard deviation: none of the clusters" in said
    alive, dead = result(place / "outputs/explain/result.json")["numbers"]["affects"]
    assert alive["area"] > 0
    assert (dead["area"], dead["centre"], dead["spread"]) == (0, None, None)
    assert alive["moves"]
    assert [(move["change"], move["p"], move["moves"]) for move in dead["moves"]] == (
        [(0, 1, False)] * len(alive["moves"])
    )


@pytest.mark.parametrize("name", MODELS)
def test_what_the_data_names_moves_or_not(ok, place, name):
    said = ok("explain", f"{name}.safetensors", "--images", 1)
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    if name == "dcgan":  # nothing reads its images
        assert "readouts" not in numbers
        assert all("moves" not in row for row in numbers["affects"])
        return
    classes, clusters = ({f"{kind} {k}" for k in range(10)} for kind in ("class", "cluster"))
    assert set(numbers["readouts"]) == classes | (clusters if name == "clustergan" else set())
    sure = {k for k, share in numbers["readouts"].items() if share >= 0.3}
    assert sure & classes  # even untrained networks tell some digits apart
    for row in numbers["affects"]:
        assert {move["name"] for move in row["moves"]} == sure
        sizes = [abs(move["change"]) for move in row["moves"]]
        assert sizes == sorted(sizes, reverse=True)
        for move in row["moves"]:
            low, high = move["interval"]
            assert low <= move["change"] <= high
            assert move["moves"] == (move["p"] <= 0.05)
            assert not move["moves"] or not low <= 0 <= high
            assert abs(move["change"]) <= 1  # of a probability
    assert "from -1 to +1 standard deviation: " in said


@torch.no_grad()
def test_moves_are_those_of_the_encoders_view_one_deviation_to_each_side(ok, place, digits):
    ok("directions", "clustergan.safetensors", "--count", 1, "--out", "d.safetensors")
    found, model = load_directions("d.safetensors"), latentkit.load("clustergan.safetensors")
    ok("explain", "clustergan.safetensors", "--directions", "d.safetensors", "--images", 1)
    (row,) = result(place / "outputs/explain/result.json")["numbers"]["affects"]
    test = digits.split("test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    z = model.encode(test[order[:64]][0])
    step = found.provenance["scale"][0] * found.vectors[0]
    ends = [model.encode(model.decode(z + side * step))[:, 4:] for side in (-1, 1)]
    change = (ends[1] - ends[0]).mean(0)
    got = {move["name"]: move["change"] for move in row["moves"]}
    for k in range(10):
        assert got[f"cluster {k}"] == pytest.approx(change[k].item(), abs=1e-5)


def test_moves_in_words_are_the_largest_that_are_sure():
    def said(*changes, sure=True):
        found = [
            {"name": n, "change": c, "moves": sure} for n, c in zip("abcde", changes, strict=False)
        ]
        return moved_in_words(found)

    step = "from -1 to +1 standard deviation: "
    assert said() == []
    assert said(-0.5, 0.25) == [step + "a -0.50, b +0.25"]
    assert said(0.5, -0.4, 0.3, 0.2, 0.1) == [step + "a +0.50, b -0.40, c +0.30 and 2 more"]
    nothing = step + "none of the clusters, classes and attributes that can be read is sure to move"
    assert said(0.5, sure=False) == [nothing]  # it may have moved by half: that is not known
    assert said(0.004) == [step + "what is sure to move does so by less than 0.01"]


def test_attributes_of_the_data_are_read_too(ok, place):
    scenes = {"count": 300, "size": SIDE, "val_count": 2, "test_count": 64}
    data = {"class_path": "latentkit.data.shapes.Shapes", "init_args": scenes}
    torch.manual_seed(0)
    model = latentkit.models.autoencoder.Autoencoder((3, SIDE, SIDE), 4, width=4, hidden=16)
    latentkit.save(model, "shapes.safetensors", {"data": data})
    ok("explain", "shapes.safetensors", "--images", 1)
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    names = {f"class {k}" for k in SHAPES} | {f"attribute {k}" for k in FACTORS}
    assert set(numbers["readouts"]) == names
    sure = {k for k, share in numbers["readouts"].items() if share >= 0.3}
    assert all({move["name"] for move in row["moves"]} == sure for row in numbers["affects"])


def test_a_model_of_unlabelled_images_moves_nothing_by_name(ok, place):
    np.savez(place / "bare.npz", x=np.load(place / "small.npz")["x"])
    ok("explain", "vae.safetensors", "--images", 1, "--data", "bare.npz")
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    assert "readouts" not in numbers
    assert all("moves" not in row for row in numbers["affects"])


CAMS = ["hires-cam", "grad-cam", "grad-cam++", "xgrad-cam", "layer-cam"]
MORE_CAMS = [pytest.param(name, marks=pytest.mark.slow) for name in CAMS[2:]]


@pytest.mark.parametrize("method", ["natural", *CAMS[:2], *MORE_CAMS])
def test_directions_are_read_by_every_method(ok, place, method):
    ok("explain", "clustergan.safetensors", "--images", 1, "--method", method)
    content = result(place / "outputs/explain/result.json")
    assert content["settings"]["method"] == method
    parts = latentkit.load("clustergan.safetensors").explainable()
    cam = method in CAMS
    layers = {name: part.layers[0] for name, part in parts.items()} if cam else {}
    assert content["settings"]["layers"] == layers
    questions = {f"{name} reading" for name in (parts if cam else ["encoder"])}
    assert set(content["numbers"]["retrieval"]) == questions


@pytest.mark.parametrize("turned", [True, False])
def test_what_is_of_the_logits_is_said_where_latents_are_made_of_them(
    ok, place, monkeypatch, turned
):
    parts_of, figures, draw = ClusterGAN.explainable, [], atlas.atlas

    def parts(model):
        found = parts_of(model)
        object.__setattr__(found["encoder"], "latents", model.prior.split if turned else None)
        return found

    def spy(*given):
        figures.append(draw(*given))
        return figures[-1]

    monkeypatch.setattr(ClusterGAN, "explainable", parts)
    monkeypatch.setattr(atlas, "atlas", spy)
    ok("explain", "clustergan.safetensors", "--images", 1)
    note = "encoder use, natural change and class activation maps are of the logits"
    settings = result(place / "outputs/explain/result.json")["settings"]
    assert settings.get("note") == (note if turned else None)
    assert len(figures) == 5
    assert all((note in figure.get_supxlabel()) == turned for figure in figures)


def test_a_model_without_an_encoder_has_no_natural_change(ok, place):
    ok("explain", "dcgan.safetensors", "--images", 1, "--method", "natural")
    assert result(place / "outputs/explain/result.json")["numbers"]["retrieval"] == {}


def test_a_layer_is_read_where_it_is_and_the_default_elsewhere():
    one, two = nn.Sequential(nn.Flatten(), nn.ReLU()), nn.Sequential(nn.Flatten())
    parts = {"encoder": Part(one, ("0",)), "discriminator": Part(two, ("0",))}
    source = SimpleNamespace(name="m", model=SimpleNamespace(explainable=lambda: parts))
    assert _layers(source, None) == {"encoder": None, "discriminator": None}
    assert _layers(source, "1") == {"encoder": "1", "discriminator": None}
    assert _layers(source, "0") == {"encoder": "0", "discriminator": "0"}
    with pytest.raises(ValueError, match=r"encoder: .*'2'.*discriminator: .*'2'"):
        _layers(source, "2")


def test_the_layer_changes_what_is_read(ok, place):
    last = list(latentkit.load("vae.safetensors").explainable()["encoder"].layers)[-1]
    shown = []
    for layer in ([], ["--layer", last]):
        ok("explain", "vae.safetensors", "--score", "unit:0", *layer)
        shown.append(result(place / "outputs/explain/result.json")["settings"]["layers"]["unit:0"])
    assert shown[1] == last
    assert shown[0] == latentkit.load("vae.safetensors").explainable()["encoder"].layers[0]
    assert shown[0] != shown[1]


def test_a_model_with_few_latent_units_is_explained_too(ok, place):
    model = latentkit.models.vae.VAE((1, SIDE, SIDE), latent_dim=2, width=4, hidden=8)
    latentkit.save(model, "two.safetensors", latentkit.store.read_about("vae.safetensors"))
    ok("explain", "two.safetensors", "--images", 1)
    assert len(result(place / "outputs/explain/result.json")["numbers"]["names"]) == 2


def test_a_single_direction_is_told_from_random_ones(ok, place, monkeypatch):
    seen, readings = [], Reader.readings
    monkeypatch.setattr(Reader, "readings", lambda self, v: seen.append(v) or readings(self, v))
    ok("directions", "vae.safetensors", "--count", 1, "--out", "d.safetensors")
    for seed in (0, 0, 1):
        words = ["--directions", "d.safetensors", "--images", 1, "--seed", seed]
        ok("explain", "vae.safetensors", *words)
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    assert numbers["retrieval"]["encoder reading"]["chance"] == 0.2
    assert len(numbers["retrieval"]["encoder reading"]["per_direction"]) == 5
    assert len(numbers["names"]) == len(numbers["affects"]) == 1
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][:1], load_directions("d.safetensors").vectors)
    assert not torch.equal(seen[0][1:], seen[2][1:])
    assert {p.name for p in (place / "outputs/explain").glob("direction_*")} == {"direction_1.png"}


def test_many_directions_are_told_from_each_other(ok, place):
    ok("directions", "vae.safetensors", "--count", 6, "--out", "d.safetensors")
    ok("explain", "vae.safetensors", "--directions", "d.safetensors", "--images", 1)
    numbers = result(place / "outputs/explain/result.json")["numbers"]
    assert numbers["retrieval"]["encoder reading"]["chance"] == pytest.approx(1 / 6)


def test_the_colours_of_all_pictures_of_a_call_mean_the_same(ok, monkeypatch):
    figures, draw = [], atlas.atlas

    def spy(*given):
        figures.append(draw(*given))
        return figures[-1]

    monkeypatch.setattr(atlas, "atlas", spy)
    ok("explain", "clustergan.safetensors", "--images", 2)
    assert len(figures) == 5  # of all directions at one image, and of each
    bars = [[bar.get_ylim() for axes in f.axes for bar in axes.child_axes] for f in figures]
    assert all(bar == bars[0] for bar in bars)
    assert len(set(bars[0])) == 4  # effect, two readings, use: each has its own
    for figure in figures:
        for image in (image for axes in figure.axes for image in axes.images):
            low, high = image.get_clim()
            assert low <= image.get_array().min() <= image.get_array().max() <= high


def test_the_walk_is_as_long_as_asked_in_standard_deviations(ok, place, monkeypatch):
    """Doubling --step doubles the walk; a direction's scale is its spread over the data."""
    seen, walk = [], atlas._walk

    def spy(source, z, d, length):
        seen.append(length)
        return walk(source, z, d, length)

    monkeypatch.setattr(atlas, "_walk", spy)
    ok("directions", "vae.safetensors", "--count", 2, "--out", "d.safetensors")
    scale = load_directions("d.safetensors").provenance["scale"]
    for step in (1, 2):
        words = ["--directions", "d.safetensors", "--step", step, "--images", 1]
        ok("explain", "vae.safetensors", *words)
    assert seen == pytest.approx([*scale, *(2 * s for s in scale)])


def test_scores_are_heatmaps_of_named_layers(ok, place):
    scores = ["real", "fake", "unit:3", "cluster:2"]
    ok("explain", "clustergan.safetensors", "--images", 3, "--score", *scores)
    content = result(place / "outputs/explain/result.json")
    assert content["files"] == ["explain.png"]
    assert content["numbers"]["images"] == 3
    assert set(content["numbers"]["degenerate"]) == {*scores}
    layers = content["settings"]["layers"]
    parts = latentkit.load("clustergan.safetensors").explainable()
    assert layers["real"] == layers["fake"] == parts["discriminator"].layers[0]
    assert layers["unit:3"] == layers["cluster:2"] == parts["encoder"].layers[0]
    assert content["settings"]["question"] == "reading"


@pytest.mark.parametrize("name", ["vae", "ae"])
def test_an_autoencoder_is_read_where_its_decoder_uses_it(ok, place, monkeypatch, name):
    seen = {}
    monkeypatch.setattr(scored, "heatmaps", lambda _, maps, __: seen.update(maps) or Figure())
    names = ["decoder", "decoder:left", "reconstruction"]
    ok("explain", f"{name}.safetensors", "--images", 3, "--score", *names)
    content = result(place / "outputs/explain/result.json")
    model = latentkit.load(f"{name}.safetensors")
    layer = model.explainable()["encoder"].layers[0]
    assert content["settings"]["layers"] == dict.fromkeys(names, layer)
    assert content["numbers"]["degenerate"] == dict.fromkeys(names, 0)
    whole, left, back = (seen[f"{k}\n(encoder {layer})"] for k in names)
    assert whole.shape == left.shape == back.shape == (3, SIDE // 2, SIDE // 2)
    assert not torch.allclose(whole, left)
    x = Digits(size=SIDE).split("test")[:3][0]
    error = reconstruction_error(x)
    expected = cam(
        Chain(model.explainable()["encoder"].module, model.decode),
        f"parts.0.{layer}",
        x,
        lambda image: -error(image),
        "hires-cam",
    )
    torch.testing.assert_close(back, expected.raw, rtol=1e-3, atol=1e-5)


class Page:
    def __init__(self, path):
        icon = '<link rel="icon" href="data:,">'  # so that no browser asks for one
        self.text = path.read_text(encoding="utf-8").replace(icon, "")
        links = re.findall(r"(?:src|href|action|data)\s*=\s*['\"]([^'\"]*)", self.text)
        self.links = [link for link in links if not link.startswith("#")]


def test_a_report_is_one_page_that_asks_for_nothing(ok, place):
    ok("sample", "vae.safetensors", "--out", "all/sample")
    ok("interpolate", "vae.safetensors", "--from", "seed:0", "--to", "seed:1", "--out", "all/walk")
    assert ok("report", "all").strip() == "all/report.html"
    page = Page(place / "all" / "report.html")
    assert len(page.links) == 3
    assert all(link.startswith("data:image/") for link in page.links)
    assert {link[11:14] for link in page.links} == {"png", "gif"}
    assert not re.search(r"<script|<link|<iframe|@import|url\(|https?://", page.text)
    assert "path_length" in page.text
    shutil.move(place / "all" / "report.html", place / "elsewhere.html")
    ok("report", "all", "--out", "pages")
    assert Page(place / "pages" / "report.html").text == page.text


def test_a_report_escapes_what_others_wrote(ok, place):
    evil = "<script>alert('&')</script>"
    folder = place / "all" / "<b>bold<"
    folder.mkdir(parents=True)
    to_pil(torch.zeros(1, 2, 2)).save(folder / "'><i>.png")
    content = {"verb": evil, "model": evil, "fingerprint": evil, "settings": {"a": evil}}
    content |= {"numbers": {evil: evil}, "files": ["'><i>.png", evil, "../../secret.png"]}
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(f"name: {evil}\n")
    (folder / "metrics.json").write_text(json.dumps({evil: 1.0}))
    ok("report", "all")
    page = Page(place / "all" / "report.html")
    body = page.text.split("<body>")[1]
    assert "<script" not in body
    assert "<b>" not in body
    assert "<i>" not in body
    assert "&lt;script&gt;" in body


def test_a_report_takes_pictures_from_its_own_folder_only(ok, place):
    (place / "all").mkdir()
    to_pil(torch.zeros(1, 2, 2)).save(place / "secret.png")
    content = {"verb": "sample", "numbers": {}, "files": ["../secret.png"]}
    (place / "all" / "result.json").write_text(json.dumps(content))
    ok("report", "all")
    assert Page(place / "all" / "report.html").links == []


def test_a_report_of_damaged_results_is_a_mistake(typed, place):
    (place / "all").mkdir()
    (place / "all" / "result.json").write_text("{")
    done = typed("report", "all")
    assert done.code == 2
    assert "result.json is damaged" in done.err


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_an_export_holds_the_same_model(ok, place, name):
    ok("export", f"{name}.safetensors", "--out", "copy.safetensors")
    ours, copy = latentkit.load(f"{name}.safetensors"), latentkit.load("copy.safetensors")
    assert type(ours) is type(copy)
    assert fingerprint(ours) == fingerprint(copy)
    about = latentkit.store.read_about("copy.safetensors")
    assert about["data"] == latentkit.store.read_about(f"{name}.safetensors")["data"]
    (place / "folder").mkdir()
    ok("export", f"{name}.safetensors", "--out", "folder")
    assert latentkit.load("folder").shape == ours.shape


def test_directions_are_written_whole_or_not_at_all(place, monkeypatch):
    found = Directions(torch.eye(2), ("a", "b"), "axes", "f")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: 1 / 0)
    before = {*place.iterdir()}
    with pytest.raises(ZeroDivisionError):
        save_directions(found, place / "d.safetensors")
    assert {*place.iterdir()} == before


def test_a_verb_that_fails_while_writing_leaves_no_half_file(typed, place, monkeypatch):
    def broken(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("PIL.Image.Image.save", broken)
    done = typed("sample", "vae.safetensors")
    assert done.code == 2
    assert "no space left" in done.err
    assert [p for p in (place / "outputs").rglob("*") if p.is_file()] == []
