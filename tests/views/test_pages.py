"""The report of a trained run, in a browser without a network: light, dark, on a phone, by key."""

import json
import re
import shutil

import pytest
import torch

import latentkit
from latentkit.cli import main
from latentkit.cli.named.sources import Source
from latentkit.cli.reporting import looking
from latentkit.cli.reporting.looking import _key, _known, tried
from latentkit.models.vae import VAE
from latentkit.training import classifier
from tests.cli.mistakes import LOUD
from tests.views.browser import UNREACHABLE, opened

SIZES = {"wide": (1200, 900), "phone": (390, 800)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A ClusterGAN of digits, trained for a moment, and its report."""
    folder = tmp_path_factory.mktemp("run")
    config = LOUD.replace("training.vae.VAE", "training.clustergan.ClusterGAN")
    config = config.replace("models.vae.VAE", "models.clustergan.ClusterGAN")
    (folder / "clustergan.yaml").write_text(config.replace("latent_dim: 2, ", ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(classifier, "_STEPS", 10)
        assert main(["fit", "--config", "clustergan.yaml"]) == 0
        made = folder / "checkpoints/clustergan/version_0"
        assert main(["report", str(made), "--images", "60"]) == 0
    return made


@pytest.fixture
def show(run):
    """Opens the report; afterwards there was no error and no request."""

    def visit(size="wide", scheme="light"):
        width, height = SIZES[size]
        return opened(viewport={"width": width, "height": height}, color_scheme=scheme)

    return visit


def load(watched, run):
    watched.page.goto((run / "report.html").as_uri())
    watched.page.wait_for_function("document.querySelectorAll('#legend li').length > 0")
    return watched.page


def test_everything_is_in_one_file(run):
    text = (run / "report.html").read_text()
    assert len(text) < 10_000_000
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "http" not in re.sub(r"data:[^\"')]*", "", text)
    for title in ("Training", "Latent map", "Clusters", "Directions", "Results", "Provenance"):
        assert f"<h2>{title}</h2>" in text
    for verb in ("sample", "reconstruct", "evaluate"):
        assert f"<h3>{verb}" in text
    assert "encoder_acc" in text
    assert "class_path: latentkit.models.clustergan.ClusterGAN" in text


def test_a_second_report_looks_at_nothing_again(run, capsys):
    before = (run / "report/evaluate/result.json").stat().st_mtime_ns
    assert main(["report", str(run), "--images", "60"]) == 0
    assert (run / "report/evaluate/result.json").stat().st_mtime_ns == before
    assert "report: evaluate" not in capsys.readouterr().err


def test_another_model_is_looked_at_anew(run, capsys):
    path = run / "report/sample/looked_at.json"
    text = path.read_text()
    path.write_text(re.sub(r'"fingerprint": "\w+"', '"fingerprint": "another"', text))
    assert main(["report", str(run), "--images", "60"]) == 0
    said = capsys.readouterr().err
    assert "report: sample" in said
    assert "report: evaluate" not in said


def test_a_result_is_known_by_all_that_it_depends_on(tmp_path):
    key = {"fingerprint": "a", "data": None, "seed": 0, "images": 60}
    (tmp_path / "result.json").write_text('{"files": ["sample.png"]}')
    (tmp_path / "sample.png").touch()
    assert not _known(tmp_path, key)
    (tmp_path / "looked_at.json").write_text(json.dumps(key))
    assert _known(tmp_path, key)
    for other in ({"fingerprint": "b"}, {"data": "x.npz"}, {"seed": 1}, {"images": 30}):
        assert not _known(tmp_path, key | other)
    assert not _known(tmp_path, key | {"content": "c"})  # of a version that did not look at them
    (tmp_path / "looked_at.json").write_text(json.dumps(key | {"content": "c"}))
    assert _known(tmp_path, key | {"content": "c"})
    assert _known(tmp_path, key)  # the images cannot be read now: what there is stays
    assert not _known(tmp_path, key | {"content": "d"})
    (tmp_path / "sample.png").unlink()
    assert not _known(tmp_path, key)


def test_other_images_are_another_key():
    source = Source("x", torch.nn.Linear(1, 1), {}, torch.device("cpu"))
    x, y = torch.rand(4, 1, 2, 2), torch.arange(4)
    first = _key(source, "d.npz", 0, 4, (x, y))
    assert first == _key(source, "d.npz", 0, 4, (x.clone(), y))
    for images in ((x + 1e-6, y), (x, y + 1), (x.flip(0), y)):
        assert _key(source, "d.npz", 0, 4, images)["content"] != first["content"]
    assert first["latentkit"] == latentkit.__version__
    assert "content" not in _key(source, "d.npz", 0, 4, None)


def copied(run, folder, *left_out):
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("report.html", *left_out))
    return folder


def spoil(run):
    """Makes a run's model one that gives no numbers."""
    model = latentkit.load(run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    latentkit.save(model, run / "model.safetensors", latentkit.store.read_about(run))


def test_results_of_the_model_before_are_gone_where_a_redo_fails(run, tmp_path):
    again = copied(run, tmp_path / "again")
    old = latentkit.store.fingerprint(latentkit.load(again))
    (again / "report/evaluate/mine.txt").write_text("a note of the user")
    assert old in (again / "report/evaluate/result.json").read_text()
    spoil(again)
    assert main(["report", str(again), "--images", "30"]) == 0
    assert not (again / "report/evaluate/result.json").exists()
    assert (again / "report/evaluate/mine.txt").exists()
    text = (again / "report.html").read_text()
    assert "evaluate could not be done" in text
    assert old not in text


def test_a_damaged_model_has_a_page(run, tmp_path):
    damaged = copied(run, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"nonsense")
    assert main(["report", str(damaged), "--images", "30"]) == 0
    text = (damaged / "report.html").read_text()
    assert "loading the model could not be done: " in text
    assert "results below are of what the model was before" in text
    assert "class_path: latentkit.models.clustergan.ClusterGAN" in text


def test_signals_that_are_no_pictures_have_a_page(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    model = VAE((1, 16), latent_dim=2, width=2, hidden=4)
    latentkit.save(model, tmp_path / "model.safetensors", {"input_shape": [1, 16]})
    assert main(["report", str(tmp_path), "--images", "30"]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "Data of shape (1, 16) are no pictures" in text
    assert "Error" not in text


def test_whatever_a_model_dies_of_is_told():
    failed = []
    assert tried("explain", lambda: 3, failed) == 3
    tried("explain", lambda: [][1], failed)
    tried("sample", lambda: int("x"), failed)
    assert failed[0] == "explain could not be done: IndexError: list index out of range"
    assert failed[1].startswith("sample could not be done: invalid literal")


def test_a_map_shows_no_more_than_a_page_can_hold(run, tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "MOST_POINTS", 25)
    again = copied(run, tmp_path / "again")
    assert main(["report", str(again), "--images", "60"]) == 0
    text = (again / "report.html").read_text()
    assert "25 test images, drawn at random." in text
    assert "The scores are of 60" in text
    assert "map of 25 latents" in text


def test_a_model_that_is_broken_has_a_report_too(run, tmp_path):
    broken = copied(run, tmp_path / "broken", "report")
    spoil(broken)
    assert main(["report", str(broken), "--images", "30"]) == 0
    text = (broken / "report.html").read_text()
    assert "could not be done: " in text
    assert "<h3>Health</h3>" in text


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_nothing_leaves(run, show, size, scheme):
    with show(size, scheme) as watched:
        page = load(watched, run)
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert page.evaluate(wide)
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.evaluate("[...document.images].every(i => i.alt.length > 10)")
        assert page.evaluate(UNREACHABLE) == []
        ink, paper = (
            page.evaluate(f"getComputedStyle(document.body).{k}")
            for k in ("color", "backgroundColor")
        )
        brightness = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (ink, paper)]
        assert (brightness[0] < brightness[1]) == (scheme == "light")
        assert abs(brightness[0] - brightness[1]) > 400
        assert watched.errors == []
        assert watched.outside == []


def coloured(page):
    """Share of the map that is painted."""
    return page.evaluate(
        """() => {
          const canvas = document.getElementById("points");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.filter((v, k) => k % 4 == 3 && v).length / (data.length / 4);
        }"""
    )


def test_the_map_by_keys(run, show):
    with show() as watched:
        page = load(watched, run)
        assert 0.001 < coloured(page) < 0.5
        page.locator("#points").focus()
        page.keyboard.press("ArrowRight")
        first = page.locator("#said").inner_text()
        assert re.fullmatch(r"image 0, label \d.*, cluster \d", first)
        seen = {first}
        for key in ("Left", "Up", "Right", "Down"):
            page.keyboard.press(f"Arrow{key}")
            seen.add(page.locator("#said").inner_text())
        assert len(seen) > 2
        assert page.locator("#card").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#card").is_visible()
        assert watched.errors == []


def test_the_map_by_touch(run):
    with opened(viewport={"width": 390, "height": 800}, has_touch=True) as watched:
        page = load(watched, run)
        page.locator("#points").scroll_into_view_if_needed()
        box = page.locator("#points").bounding_box()
        for x, y in ((x, y) for x in (0.3, 0.4, 0.5, 0.6, 0.7) for y in (0.3, 0.4, 0.5, 0.6, 0.7)):
            page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.wait_for_timeout(50)
            if page.locator("#card").is_visible():
                break
        page.wait_for_timeout(300)
        assert page.locator("#card").is_visible()


def test_the_map_by_mouse_and_menus(run, show):
    with show() as watched:
        page = load(watched, run)
        assert page.locator("#group").input_value() == "label"
        digits = page.locator("#legend li").count()
        page.select_option("#group", "cluster")
        assert page.locator("#legend li").count() <= 10 <= digits
        page.select_option("#projection", "t-SNE")
        page.locator("#points").scroll_into_view_if_needed()
        box = page.locator("#points").bounding_box()
        steps = torch.linspace(0.02, 0.98, 25).tolist()
        for x, y in ((x, y) for x in steps for y in steps):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if page.locator("#card").is_visible():
                break
        assert page.locator("#card").is_visible()
        assert page.locator("#face").bounding_box()["width"] > 50
        assert watched.errors == []
