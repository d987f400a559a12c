"""The report's parts: curves, numbers, map and page; see `test_pages` for the browser."""

import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from latentkit.latent.cluster import Clustering, kmeans
from latentkit.views.report import page
from latentkit.views.report.curves import curves, drawn
from latentkit.views.report.latent_map import latent_map, members, projections, thumbnails
from latentkit.views.report.numbers import rows


def test_a_curve_fills_its_box():
    curve = drawn("loss", [(0, 3.0), (5, 1.0), (10, 2.0)])
    assert curve.path == "M0.0 0.0L150.0 110.0L300.0 55.0"
    assert (curve.low, curve.high, curve.last) == (1, 3, 2)
    assert (curve.first_step, curve.last_step) == (0, 10)


def test_a_curve_has_gaps_where_values_are_no_numbers():
    curve = drawn("loss", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0), (4, 1.0)])
    assert curve.path == "M0.0 110.0M225.0 0.0L300.0 110.0"
    assert drawn("loss", [(0, math.nan), (1, math.nan)]) is None


def test_a_constant_curve_runs_through_the_middle():
    assert drawn("beta", [(0, 1.0), (1, 1.0)]).path == "M0.0 55.0L300.0 55.0"


def test_a_long_curve_is_thinned_but_keeps_its_end():
    curve = drawn("loss", [(k, float(k)) for k in range(5000)])
    assert curve.path.count("L") <= 300
    assert curve.last == 4999


def test_a_spike_is_never_thinned_away():
    values = [1.0] * 3000
    values[1234] = 1000.0
    curve = drawn("loss", list(enumerate(values)))
    assert curve.high == 1000
    assert re.search(r"L123\.4 0\.0", curve.path)


def test_curves_are_read_from_event_files(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        for step in range(3):
            writer.add_scalar("val/mse", 1 / (1 + step), step)
            writer.add_scalar("epoch", step, step)
        writer.add_scalar("once", 0.1, 3)
    assert [c.name for c in curves(tmp_path)] == ["val/mse"]


def test_an_interval_stands_beside_its_number():
    numbers = {"mse": 0.123456, "mse_ci95": [0.1, 0.2], "kl": {"unit": [1.0, 2.0]}, "n": 3}
    found = [(r.name, r.value, r.interval) for r in rows(numbers)]
    assert found == [
        ("mse", "0.1235", "0.1 to 0.2"),
        ("kl: unit", "1, 2", ""),
        ("n", "3", ""),
    ]
    assert rows({"only_ci95": [1.0, 2.0]})[0].name == "only_ci95"
    assert rows({"long": [1.0] * 20})[0].value.endswith("... (20 in all)")


def test_projections_lie_in_the_unit_square_and_keep_the_shape():
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [9.0, 3, 1, 1, 1]
    )
    found, notes = projections(z)
    assert {"PCA", "t-SNE"} <= set(found)
    flat = np.array(found["PCA"])
    assert flat.min() >= 0
    assert flat.max() <= 1
    assert np.ptp(flat[:, 0]) == pytest.approx(1, abs=1e-3)
    # distances are those of the two strongest axes, up to one factor
    centred = z.double().numpy() - z.double().numpy().mean(0)
    at = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    wanted = np.linalg.norm(at[:, None] - at[None], axis=2)
    got = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    assert np.allclose(got * wanted.max() / got.max(), wanted, atol=0.02)
    assert notes[0].startswith("PCA shows 9")


def test_umap_where_it_is_installed():
    pytest.importorskip("umap")
    found, _ = projections(torch.randn(30, 4))
    assert len(found["UMAP"]) == 30


@pytest.mark.parametrize("shape", [(12, 1), (3, 7)])
def test_projections_of_little(shape):
    found, _ = projections(torch.randn(*shape))
    assert set(found) == {"PCA"}
    assert len(found["PCA"]) == shape[0]


def test_latents_that_are_all_alike_have_a_map_too():
    assert projections(torch.ones(12, 2))[0]["PCA"] == [(0.5, 0.5)] * 12


def test_thumbnails_lie_where_the_page_looks_for_them():
    images = torch.linspace(0, 1, 7).view(7, 1, 1, 1).expand(7, 1, 16, 16)
    content = thumbnails(images, 3)
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert sheet.shape == (48, 48)
    for k in range(7):
        y, x = divmod(k, 3)
        middle = sheet[16 * y + 8, 16 * x + 8]
        assert middle == pytest.approx(255 * k / 6, abs=6)


def clustering(labels, confidence):
    labels = torch.tensor(labels)
    return Clustering("kmeans", labels, torch.zeros(2, 2), torch.tensor(confidence))


def test_members_are_the_surest_and_the_least_sure():
    found = clustering([0] * 20 + [1] + [-1], [k / 20 for k in range(20)] + [0.5, 0.0])
    labels = torch.tensor([2] * 15 + [1] * 5 + [0, -1])
    first, second, noise = members(found, labels, ["a", "b", "c"])
    assert (first.name, first.size, first.label) == ("0", 20, "c, 75%")
    assert first.typical == [19, 18, 17, 16, 15, 14, 13, 12]
    assert first.borderline == [0, 1, 2, 3, 4, 5, 6, 7]
    assert (second.typical, second.borderline) == ([20], [])
    assert (noise.name, noise.label) == ("noise", "")


@pytest.fixture
def explored():
    z = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 3 - 1
    names = ["<b>zero</b>", "one"]
    return latent_map(z, torch.rand(30, 1, 8, 8), labels, kmeans(z, 2), names, ["a note"])


def test_a_map_has_a_name_for_every_point(explored):
    assert list(explored.groups) == ["label", "cluster"]
    assert explored.groups["label"][:3] == ["unlabelled", "<b>zero</b>", "one"]
    assert set(explored.groups["cluster"]) == {"0", "1"}
    assert sum(row.size for row in explored.clusters) == 30
    assert explored.columns**2 >= 30


def result(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"verb": "evaluate", "numbers": {}} | content))


def test_nothing_typed_by_a_user_becomes_html(tmp_path, explored):
    evil = "<script>alert(1)</script>"
    (tmp_path / "config.yaml").write_text(evil)
    (tmp_path / "metrics.json").write_text(json.dumps({evil: 1.0}))
    result(tmp_path / "one", verb=evil, numbers={evil: evil}, model=evil, settings={evil: evil})
    text = page(tmp_path, explored)
    assert evil not in text
    assert "<b>zero" not in text
    assert text.count("<script") == 2  # the page's own content and code


def test_the_health_is_told_in_plain_words(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    assert "Health" not in page(tmp_path)  # nobody watched
    alarms = [
        {"iteration": 8, "text": "It collapsed.", "cleared": None},
        {"iteration": 2, "text": "It swung.", "cleared": 4},
    ]
    (tmp_path / "health.json").write_text(json.dumps({"alarms": alarms}))
    text = page(tmp_path)
    assert "At iteration 8: It collapsed.</p>" in text
    assert "At iteration 2: It swung. It cleared at iteration 4." in text
    (tmp_path / "health.json").write_text(json.dumps({"alarms": []}))
    assert "No alarm rang" in page(tmp_path)


def test_directions_carry_their_faithfulness(tmp_path):
    told = {"faithful": [True, False], "verdicts": ["told in 90%", "told in 23% - a guess"]}
    old = {"per_direction": [0.9, 0.23], "chance": 0.2, "images": 64}  # no control was measured
    found = {"encoder reading": told, "discriminator reading": old}
    numbers = {"names": ["smile", "age"], "retrieval": found}
    files = ["explain.png", "gone.png", "direction_1.png", "direction_2.png"]
    for name in files:
        tmp_path.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "gone.png").unlink()
    result(tmp_path, verb="explain", numbers=numbers, files=[*files, "../outside.png"])
    text = page(tmp_path)
    badges = re.findall(r'<span class="badge (\w+)">(.*?)</span> (.*?)<br>', text)
    assert badges == [
        ("good", "faithful", "encoder reading told in 90%"),
        ("bad", "not faithful", "encoder reading told in 23% - a guess"),
    ]
    assert 'alt="smile: walk, effect, readings and use, image by image"' in text
    assert text.count("<img") == 3


def test_a_large_picture_becomes_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "sample.png")
    result(tmp_path, verb="sample", files=["sample.png"])
    text = page(tmp_path)
    assert "data:image/webp" in text
    assert len(text) < 1_000_000


def test_a_page_is_never_larger_than_ten_megabytes(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.svg").write_bytes(b"<svg>" + b" " * 3_000_000 + b"</svg>")
    result(tmp_path, verb="interpolate", files=["0.svg", "1.svg", "2.svg"])
    text = page(tmp_path)
    assert len(text) < 10_000_000
    assert "2.svg is left out: with its" in text


def test_files_of_others_and_damaged_ones_do_not_end_the_report(tmp_path):
    (tmp_path / "log.json").write_text('{"a": 1}\n{"a": 2}')
    (tmp_path / "config.yaml").write_bytes(b"name: \xef\xff")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    (tmp_path / "health.json").write_text(json.dumps({"alarms": [{"text": "It rang."}]}))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nonsense")
    result(tmp_path, verb="sample", numbers=None, files=["broken.png"])
    text = page(tmp_path, failed=["explain could not be done: no"])
    assert "broken.png is left out: it is damaged" in text
    assert "It rang." in text
    assert "it cannot be read" in text
    assert "explain could not be done: no" in text


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        page(tmp_path)
