"""Truncated samples, inversions and edits, of our models and of foreign ones."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import latentkit
from latentkit.cli.inverting.edits import Direction, _notes
from latentkit.latent.truncation import truncated
from latentkit.metrics.reconstruction import mse, psnr
from latentkit.store import Directions, fingerprint, load_directions, save_directions
from latentkit.views.pixels import grid, to_pil
from tests.cli.conftest import result
from tests.cli.test_verbs_directions import FACTORIES, same_sheet

MORE = """
@torch.no_grad()
def generator():
    model = Pair()
    del model.encode
    model.prior = Styles.prior
    model.linear = torch.nn.Linear(3, 256)
    return model

def frozen():
    model = Pair()
    model.decode = torch.no_grad()(model.decode)
    return model
"""


@pytest.fixture
def foreign(place):
    """A module with factories of models that know nothing of this package."""
    (place / "foreign_edits.py").write_text(FACTORIES + MORE)
    yield place
    __import__("sys").modules.pop("foreign_edits", None)


def arrays(path):
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@torch.no_grad()
def test_an_inversion_writes_what_it_found(ok, place, digits):
    ok("invert", "vae.safetensors", "--count", 3, "--steps", 20, "--reference", 0)
    folder = place / "outputs" / "invert"
    assert {p.name for p in folder.iterdir()} == {"invert.png", "invert.npz", "result.json"}
    assert np.array(Image.open(folder / "invert.png").convert("L")).std() > 5
    found, content = arrays(folder / "invert.npz"), result(folder / "result.json")
    x, _ = digits.split("test")[:3]
    model, numbers = latentkit.load("vae.safetensors"), content["numbers"]
    torch.testing.assert_close(found["start"], model.encode(x))
    quality = psnr(model.decode(found["z"]), x)
    torch.testing.assert_close(found["psnr_db"], quality)
    assert numbers["each"]["psnr_db"] == pytest.approx(quality.tolist(), rel=1e-4)
    assert numbers["psnr_db"] == pytest.approx(quality.mean().item(), rel=1e-4)
    start = model.decode(found["start"])
    assert numbers["start_psnr_db"] == pytest.approx(psnr(start, x).mean().item(), rel=1e-4)
    assert (mse(model.decode(found["z"]), x) <= mse(start, x) + 1e-7).all()
    assert quality.mean() > psnr(start, x).mean()
    assert content["settings"]["judged"] == "typicality of the latent alone"
    assert numbers["out_of_domain"] == sum(numbers["each"]["out_of_domain"])
    assert content["fingerprint"] == fingerprint(model)


def test_a_generator_without_encoder_inverts_files_and_items(ok, place, digits):
    x, _ = digits.split("test")[[5]]
    to_pil(x[0]).save(place / "five.png")
    words = ["--images", "five.png", "item:5", "--starts", 20, "--reference", 0]
    ok("invert", "dcgan.safetensors", *words, "--steps", 5, "--out", "found.png")
    content, found = result(place / "found.json"), arrays(place / "found.npz")
    assert content["settings"]["images"] == ["five.png", "item:5"]
    assert found["z"].shape == (2, 6)
    torch.testing.assert_close(found["z"][0], found["z"][1], atol=1e-3, rtol=0)
    assert content["numbers"]["psnr_db"] > content["numbers"]["start_psnr_db"]


def test_held_out_images_judge_what_is_out_of_domain(ok, place):
    pictures = []
    for k in range(2):
        noise = np.random.default_rng(k).integers(0, 2, (16, 16), dtype=np.uint8)
        Image.fromarray(255 * noise).save(place / f"noise{k}.png")
        pictures.append(f"noise{k}.png")
    words = ["--images", *pictures, "item:0", "--steps", 0, "--reference", 60]
    ok("invert", "ae.safetensors", *words)
    content = result(place / "outputs/invert/result.json")
    assert content["settings"]["judged"] == "error and typicality among 60 val images"
    assert content["numbers"]["each"]["out_of_domain"] == [True, True, False]
    ok("invert", "ae.safetensors", *words[:-1], 5)
    content = result(place / "outputs/invert/result.json")
    assert content["settings"]["judged"].startswith("not judged: expected a reference of 19 images")
    assert "out_of_domain" not in content["numbers"]


def test_features_can_be_compared(ok, place):
    words = ["--count", 2, "--steps", 3, "--reference", 0, "--features", "encoder"]
    ok("invert", "ae.safetensors", *words)
    assert len(result(place / "outputs/invert/result.json")["numbers"]["each"]["feature"]) == 2


@pytest.fixture
def axes(ok, place):
    ok("directions", "vae.safetensors", "--method", "axes", "--count", 2, "--out", "d.safetensors")
    return load_directions("d.safetensors")


@torch.no_grad()
def test_an_edit_moves_the_encoded_image_by_its_scale(ok, place, digits, axes):
    name = axes.names[1]
    words = ["--directions", "d.safetensors", "--name", name, "--images", "item:3", "item:8"]
    said = ok("edit", "vae.safetensors", *words, "--strengths", -2, 0, 1)
    folder = place / "outputs" / "edit"
    files = {"edit.png", "edit.gif", "latents.npz", "result.json"}
    assert {p.name for p in folder.iterdir()} == files
    assert f"direction: {name}" in said
    model, (x, _) = latentkit.load("vae.safetensors"), digits.split("test")[[3, 8]]
    z = model.encode(x)
    step = axes.provenance["scale"][1] * axes.vectors[1]
    found = arrays(folder / "latents.npz")
    expected = torch.stack([z - 2 * step, z, z + step], dim=1)
    torch.testing.assert_close(found["edited"], expected, atol=1e-5, rtol=1e-4)
    numbers = result(folder / "result.json")["numbers"]
    unmoved = model.decode(z)
    change = (model.decode(z + step) - unmoved).abs().mean().item()
    assert numbers["change"][1:] == pytest.approx([0, change], rel=1e-3, abs=1e-6)
    seen = (
        (model.encode(model.decode(z + step)) - model.encode(unmoved)) @ step / step.square().sum()
    )
    assert numbers["read_back"][1] is None
    assert numbers["read_back"][2] == pytest.approx(seen.mean().item(), rel=1e-3)
    quality = psnr(unmoved, x).mean().item()
    assert numbers["psnr_db_unmoved"] == pytest.approx(quality, rel=1e-4)
    with Image.open(folder / "edit.gif") as gif:
        assert gif.n_frames > 10


def test_an_edit_can_be_a_film(ok, place, axes):
    av = pytest.importorskip("av")
    words = ["--directions", "d.safetensors", "--count", 1, "--out", "moved.mp4"]
    ok("edit", "vae.safetensors", *words)
    files = {"moved.png", "moved.gif", "moved.mp4", "moved_latents.npz"}
    assert set(result(place / "moved.json")["files"]) == files
    with av.open(str(place / "moved.mp4")) as film:
        assert len([*film.decode(video=0)]) == 25 + 23


def test_an_edit_tells_what_directions_measured(ok, place):
    groups = ["--method", "attribute", "--start", "label:0", "--end", "label:1", "--limit", 300]
    ok("directions", "vae.safetensors", *groups, "--out", "known.safetensors")
    ok("edit", "vae.safetensors", "--directions", "known.safetensors", "--count", 1)
    known = result(place / "outputs/edit/result.json")["numbers"]["uncertainty"]
    found = result(place / "known.json")["numbers"]
    names = ("corrected_cone_degrees", "cone_degrees", "p", "held_out_auc")
    assert known == {k: found[k] for k in names}
    assert 0 < known["cone_degrees"] < known["corrected_cone_degrees"] < 180


def test_an_edit_shows_the_cone_that_holds_the_truth():
    found = SimpleNamespace(history=[0], psnr=torch.ones(1))
    known = {"corrected_cone_degrees": 40.0, "cone_degrees": 20.0, "p": 0.01}
    said = _notes(Direction(torch.ones(2), 1.0, "a", "attribute", known), found, True)[-1]
    assert "within 40.0 degrees of the true direction (95 %)" in said
    assert "20.0" not in said
    fitted = {"cone_degrees": 20.0}
    said = _notes(Direction(torch.ones(2), 1.0, "a", "attribute", fitted), found, True)[-1]
    assert "bootstrap cone 20.0 degrees; the error is larger" in said


def test_a_generator_without_encoder_is_edited_by_inversion(ok, place):
    words = ["--method", "jacobian", "--count", 1, "--out", "d.safetensors"]
    ok("directions", "dcgan.safetensors", *words)
    rest = ["--count", 2, "--steps", 4, "--starts", 10]
    ok("edit", "dcgan.safetensors", "--directions", "d.safetensors", *rest)
    content = result(place / "outputs/edit/result.json")
    assert content["numbers"]["read_back"] is None
    assert (content["settings"]["steps"], content["numbers"]["images"]) == (4, 2)
    assert content["settings"]["strengths"] == [-3, -2, -1, 0, 1, 2, 3]


def test_directions_of_another_model_edit_nothing(typed, place, axes):
    done = typed("edit", "vae_b.safetensors", "--directions", "d.safetensors")
    assert done.code == 2
    for name in ("vae", "vae_b"):
        assert fingerprint(latentkit.load(f"{name}.safetensors")) in done.err
    other = Directions(axes.vectors, axes.names, "axes", axes.fingerprint, space="w")
    save_directions(other, "w.safetensors")
    for words in (
        "edit vae.safetensors --directions w.safetensors",
        "augment vae.safetensors --method direction --directions w.safetensors",
        "directions vae.safetensors --conditions w.safetensors",
        "explain vae.safetensors --directions w.safetensors",
    ):
        done = typed(*words.split())
        assert done.code == 2
        assert "holds directions of w" in done.err


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("--directions d.safetensors --name x", "no direction 'x' in d.safetensors: expected one"),
        ("--directions d.safetensors --strengths 0", "one that is not 0, got [0.0]"),
        ("--directions d.safetensors --strengths nan", "Got value: nan"),
        ("--directions d.safetensors --images seed:3", "seed:3 is no image"),
        ("--directions long.safetensors", "latents' shape (6,), got (7,)"),
    ],
)
def test_mistakes_with_a_directions_file(typed, place, axes, words, fragment):
    wrong = Directions(torch.ones(1, 7), ("a",), "test", axes.fingerprint)
    save_directions(wrong, "long.safetensors")
    done = typed("edit", "vae.safetensors", *words.split())
    assert done.code == 2
    assert fragment in done.err
    assert not (place / "outputs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["invert", "pair", "--steps", "2", "--reference", "0"],
        ["invert", "generator", "--steps", "2", "--starts", "5"],
        ["mix", "styles", "--layers", "0-1", "fine"],
        ["sample", "styles", "--truncation", "0.5"],
    ],
)
def test_a_foreign_model_is_inverted_mixed_and_sampled(ok, foreign, words):
    verb, name, *rest = words
    data = ["--data", "small.npz"] if verb != "sample" else []
    ok(verb, f"foreign_edits:{name}", *data, *rest)
    content = result(foreign / "outputs" / verb / "result.json")
    assert re.fullmatch("[0-9a-f]{16}", content["fingerprint"])
    if verb == "invert":
        assert len(arrays(foreign / "outputs/invert/invert.npz")["z"]) == 6
        assert "out_of_domain" not in content["numbers"]


@pytest.mark.parametrize("name", ["pair", "generator"])
def test_a_foreign_model_is_encoded_and_edited(ok, foreign, name):
    model, data = f"foreign_edits:{name}", ["--data", "small.npz"]
    if name == "pair":
        ok("encode", model, *data, "--projector", "board")
        assert arrays(foreign / "outputs/encode/encode.npz")["z"].shape == (6, 4)
        table = next((foreign / "board").rglob("metadata.tsv")).read_text()
        assert len(table.splitlines()) == 1 + 6
    ok("directions", model, *data, "--method", "axes", "--count", "1", "--out", "d.safetensors")
    words = ["--directions", "d.safetensors", "--images", "item:0", "--strengths", "1"]
    ok("edit", model, *data, *words, "--starts", "3")
    steps = result(foreign / "outputs/edit/result.json")["settings"]["steps"]
    assert steps == (0 if name == "pair" else 300)


def test_foreign_models_that_cannot_be_inverted(typed, foreign):
    for name, fragment in (("frozen", "carries no gradient"), ("styles", "images (6, 1, 12")):
        done = typed("invert", f"foreign_edits:{name}", "--data", "small.npz", "--reference", 0)
        assert done.code == 2
        assert fragment in done.err or "expected decode to give images" in done.err


@torch.no_grad()
def test_truncated_samples_are_drawn_again_and_styles_move_to_their_mean(ok, foreign):
    ok("sample", "vae.safetensors", "--count", 2, "--columns", 2, "--truncation", 0.5)
    model = latentkit.load("vae.safetensors")
    z = truncated(model.prior, 2, 0.5, torch.Generator().manual_seed(0))
    assert same_sheet(foreign / "outputs/sample/sample.png", grid(model.decode(z), 2))
    said = result(foreign / "outputs/sample/result.json")["settings"]
    assert said["truncated"] == "coordinates of the prior, drawn again"
    sheets = []
    for psi in ([], ["--truncation", 1], ["--truncation", 0]):
        ok("sample", "foreign_edits:styles", "--count", 3, "--columns", 3, *psi, "--out", "s.png")
        sheets.append(np.array(Image.open(foreign / "s.png")).astype(int))
    assert np.array_equal(sheets[0], sheets[1])
    times = sheets[2].shape[0] // 16
    small = sheets[2][::times, ::times, 0][2:5]
    assert np.array_equal(small[:, 2:14], small[:, 16:28])  # every image is the mean's
    assert abs(small[:, 2:14].mean() - 127.5) < 3


def test_a_cutoff_leaves_fine_styles_alone(ok, typed, foreign):
    sheets = []
    for words in ([], ["--truncation", 0, "--cutoff", 2]):
        ok("sample", "foreign_edits:styles", "--count", 1, "--columns", 1, *words, "--out", "s.png")
        sheet = np.array(Image.open(foreign / "s.png").convert("L")).astype(int)
        times = sheet.shape[0] // 16
        sheets.append(sheet[::times, ::times][3, 2:14].reshape(3, 4)[:, 1])
    assert result(foreign / "s.json")["settings"]["cutoff"] == 2
    assert abs(sheets[1][:2] - 127).max() < 4  # the mean's
    assert sheets[1][2] == sheets[0][2]
    for words, message in (
        (["--truncation", "0.5", "--cutoff", "4"], "expected a cutoff from 0 to the number"),
        (["--cutoff", "1"], "--cutoff is for --truncation"),
    ):
        done = typed("sample", "foreign_edits:styles", *words, "--out", "no.png")
        assert done.code == 2
        assert message in done.err
