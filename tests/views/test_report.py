"""The report's parts: curves, numbers, map and page; see `test_pages` for the browser."""

import io
import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

import latentkit
from latentkit.latent.cluster import Clustering, kmeans
from latentkit.models.vae import VAE
from latentkit.views.report import latent_map as maps
from latentkit.views.report import page, pictures
from latentkit.views.report.curves import curves, drawn
from latentkit.views.report.health import health
from latentkit.views.report.latent_map import latent_map, members, projections, thumbnails
from latentkit.views.report.numbers import about_intervals, rows


def test_a_curve_fills_its_box():
    curve = drawn("loss", [(0, 3.0), (5, 1.0), (10, 2.0)])
    assert curve.path == "M0.0 0.0L150.0 110.0L300.0 55.0"
    assert (curve.low, curve.high, curve.last) == (1, 3, 2)
    assert (curve.first_step, curve.last_step) == (0, 10)


def test_a_curve_has_gaps_where_values_are_no_numbers():
    curve = drawn("loss", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0), (4, 1.0)])
    assert curve.path == "M0.0 110.0h0M225.0 0.0L300.0 110.0"
    assert drawn("loss", [(0, math.nan), (1, math.nan)]) is None


def test_a_value_alone_between_gaps_is_a_dot():
    curve = drawn("loss", [(0, math.nan), (1, 2.0), (2, math.nan), (3, 1.0), (4, 1.0)])
    assert curve.path == "M75.0 0.0h0M225.0 110.0L300.0 110.0"


def test_a_resumed_run_goes_forwards_with_what_was_written_last(tmp_path):
    for start, value in ((0, 5.0), (2, 1.0)):  # the second goes on from the step before the kill
        with SummaryWriter(tmp_path, filename_suffix=str(start)) as writer:
            for step in range(start, start + 4):
                writer.add_scalar("loss", value, step)
    (curve,) = curves(tmp_path)
    assert curve.path == "M0.0 0.0L60.0 0.0L120.0 110.0L180.0 110.0L240.0 110.0L300.0 110.0"
    assert (curve.first_step, curve.last_step, curve.last) == (0, 5, 1)


def test_what_a_resumed_run_has_not_reached_again_is_not_its_last_value(tmp_path):
    for start, count, value in ((0, 9, 5.0), (3, 2, 1.0)):
        with SummaryWriter(tmp_path, filename_suffix=str(start)) as writer:
            for step in range(start, start + count):
                writer.add_scalar("loss", value, step)
    (curve,) = curves(tmp_path)
    assert (curve.first_step, curve.last_step, curve.last) == (0, 4, 1)


def test_a_measure_that_is_no_number_is_not_called_healthy():
    content = {"judged": 5, "needed": 3, "values": {"diversity": math.nan}, "alarms": []}
    found = health(content)
    assert found.state == "unknown"
    assert "diversity could not be measured" in found.lines[0]
    assert health({**content, "values": {"diversity": 1.0}}).state == "good"


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


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_spike_among_gaps_is_not_thinned_away(sign):
    values = [math.nan if k % 2 else sign * (5.0 + k % 6) for k in range(3000)]
    values[1234] = sign * 1.0
    curve = drawn("loss", list(enumerate(values)))
    assert re.search(rf"123\.4 {'0.0' if sign < 0 else '110.0'}", curve.path)


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


def test_what_intervals_are_of_is_said_with_them():
    numbers = {"frechet_x": 1.0, "density_x": 1.0, "density_x_ci95": [0.9, 1.1], "nmi": 0.5}
    said = " ".join(about_intervals(rows(numbers)))
    assert "A Frechet distance has no interval" in said
    assert "precision and density are over generated images" in said
    assert "NMI" not in said
    assert about_intervals(rows({"frechet_x": 1.0})) == []


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


@pytest.mark.slow
def test_umap_where_it_is_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "umap")  # see tests/conftest.py
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
    content = thumbnails(images, 3, 16)
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert sheet.shape == (48, 48)
    for k in range(7):
        y, x = divmod(k, 3)
        middle = sheet[16 * y + 8, 16 * x + 8]
        assert middle == pytest.approx(255 * k / 6, abs=6)


def clustering(labels, confidence, centres=2):
    labels = torch.tensor(labels)
    return Clustering("kmeans", labels, torch.zeros(centres, 2), torch.tensor(confidence))


def test_thumbnails_shrink_until_the_page_has_room(monkeypatch):
    images = torch.rand(100, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    z = torch.randn(100, 2)

    def found():
        return latent_map(z, images, torch.zeros(100).long(), kmeans(z, 2), [], [])

    assert not [note for note in found().notes if "Thumbnails" in note]
    monkeypatch.setattr(maps, "_SPRITE", 20_000)
    small = found()
    (side,) = {size // small.columns for size in Image.open(io.BytesIO(small.sprite)).size}
    assert len(small.sprite) <= 20_000
    assert f"Thumbnails have {side} pixels a side, not 40" in small.notes[-1]


def test_a_map_of_more_points_than_a_page_can_hold_is_refused(monkeypatch):
    monkeypatch.setattr(maps, "MOST_POINTS", 11)
    with pytest.raises(ValueError, match="at most 11 images, got 12"):
        latent_map(torch.ones(12, 2), torch.ones(12, 1, 2, 2), torch.ones(12).long(), None, [], [])


def test_a_cluster_that_no_image_chose_is_a_row_too():
    found = members(clustering([0, 0, 2], [1.0, 0.5, 0.9], 3), torch.zeros(3).long(), [])
    assert [(row.name, row.size) for row in found] == [("0", 2), ("2", 1), ("1", 0)]
    assert (found[2].typical, found[2].borderline, found[2].label) == ([], [], "")


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
    (tmp_path / "health.json").write_text(json.dumps(VAE_HEALTH | {"judged": 3}))
    text = page(tmp_path)
    assert '<div class="health good">' in text
    assert "No alarm rang for what was measured" in text


VAE_HEALTH = {
    "iteration": 600,
    "values": {"active_units": 5.0, "kl": 3.0, "kl_per_unit": [0.5] * 6},
    "needed": 3,
    "alarms": [],
}


def test_only_what_was_measured_is_called_healthy():
    said = " ".join(health(VAE_HEALTH | {"judged": 3}).lines)
    assert "Last measured at iteration 600: 5 of 6 latent units carry information." in said
    assert "cluster" not in said
    assert "images" not in said
    gan = {"diversity": 0.9, "nearest": 1.0, "accuracy": 0.75, "gap": 1.5, "cluster_usage": 8.5}
    said = " ".join(health(VAE_HEALTH | {"judged": 3, "values": gan}).lines)
    for words in ("generated images differ 0.9 times", "right in 0.75", "uses 8.5 clusters"):
        assert words in said
    rebuilt = health(VAE_HEALTH | {"judged": 3, "values": {"diversity": 0.9}})
    assert "reconstructions differ 0.9 times" in rebuilt.lines[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (VAE_HEALTH | {"judged": 0}, "Too early to judge"),
        (VAE_HEALTH | {"judged": 2}, "3 measurements in a row after the grace period on"),
        (VAE_HEALTH, "was not written down"),
        (VAE_HEALTH | {"judged": 9, "values": {}}, "Nothing was measured"),
    ],
)
def test_silence_before_anything_is_judged_is_not_health(content, said):
    found = health(content)
    assert found.state == "unknown"
    assert said in found.lines[0]


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
    assert 'alt="Directions smile, age: walk, effect' in text
    assert text.count('<figure class="picture" tabindex="0"') == 3


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


def test_pictures_are_left_out_until_the_text_fits(tmp_path, monkeypatch, explored):
    for k in range(3):
        (tmp_path / f"{k}.svg").write_bytes(b"<svg>" + b" " * (30_000 + k) + b"</svg>")
    result(tmp_path, verb="interpolate", files=["0.svg", "1.svg", "2.svg"])
    monkeypatch.setattr(pictures, "_PAGE", 110_000)
    text = page(tmp_path, explored)
    assert len(text.encode()) <= 110_000
    assert "2.svg is left out: with it the page would have more than 10 MB" in text
    assert "0.svg is left out" not in text
    assert 'id="map"' in text
    monkeypatch.setattr(pictures, "_PAGE", 15_000)
    text = page(tmp_path, explored)
    assert "The latent map is left out" in text
    assert 'id="map"' not in text


def test_a_picture_that_is_longer_than_webp_allows_is_shrunk(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (17_000, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "strip.png")
    result(tmp_path, verb="interpolate", files=["strip.png"])
    text = page(tmp_path)
    assert "left out" not in text
    assert "data:image/webp" in text


def test_a_result_of_another_model_says_so(tmp_path):
    torch.manual_seed(0)
    run = tmp_path / "run"
    latentkit.save(VAE((1, 8, 8), 2, 2, 4), run / "model.safetensors", {})
    (run / "config.yaml").write_text("")
    ours = latentkit.store.fingerprint(latentkit.load(run))
    result(run / "mine", fingerprint=ours)
    assert "Of another model" not in page(tmp_path)
    result(run / "old", fingerprint="0123456789abcdef")
    result(tmp_path / "elsewhere", fingerprint="fedcba9876543210")
    text = page(tmp_path)
    assert text.count("Of another model") == 1
    assert f"its fingerprint is 0123456789abcdef, the run&#39;s is {ours}." in text


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
