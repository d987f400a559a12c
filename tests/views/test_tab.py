"""The tab "Latent" of TensorBoard: what it serves, and what a browser makes of it."""

import json
import subprocess
import sys
from argparse import Namespace
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from tensorboard import errors, program
from torch.utils.tensorboard import SummaryWriter
from werkzeug.test import Client

from latentkit.views.entries import Entry, write_entry
from latentkit.views.plugin import PLUGIN_NAME
from latentkit.views.plugin.tab import LatentLoader
from tests.views.browser import opened

SIDE = 8


def entry(kind, largest):
    effect = torch.linspace(0, largest, SIDE * SIDE).view(SIDE, SIDE)
    return Entry(
        kind, torch.rand(5, 1, SIDE, SIDE), {"effect": effect, "reading": effect.T}, ["a note"]
    )


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A TensorBoard with two runs of three steps, as the command starts it: its address."""
    folder = tmp_path_factory.mktemp("board")
    for run, scale in (("one", 1.0), ("two", 4.0)):
        with SummaryWriter(folder / run) as writer:
            for step in (10, 20, 30):
                for name in ("unit 3", "unit 11", "pair 1"):
                    write_entry(writer, name, entry(name.split()[0], scale * step), step)
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(folder), "--port", "0", "--host", "127.0.0.1"])
    return server.launch()


def get(board, path):
    with urlopen(f"{board}data/plugin/{PLUGIN_NAME}{path}") as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_the_plugin_needs_no_torch():
    code = "import sys, latentkit.views.plugin.tab; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_tensorboard_is_asked_to_keep_many_steps():
    flags = Namespace(samples_per_plugin={"images": 3})
    LatentLoader().fix_flags(flags)
    assert flags.samples_per_plugin == {"latentkit": 500, "images": 3}
    flags.samples_per_plugin = {"latentkit": 7}
    LatentLoader().fix_flags(flags)
    assert flags.samples_per_plugin == {"latentkit": 7}


def test_what_was_logged_is_served(board):
    index = json.loads(get(board, "/entries")[0])
    assert set(index) == {"one", "two"}
    assert set(index["two"]) == {"unit 3", "unit 11", "pair 1"}
    steps = index["two"]["unit 3"]
    assert [s["step"] for s in steps] == [10, 20, 30]
    head, strip, effect, reading = (get(board, f"/blob?key={k}")[0] for k in steps[2]["blobs"])
    assert json.loads(head)["frames"] == 5
    assert strip.startswith(b"\x89PNG")
    wanted = np.linspace(0, 120, SIDE * SIDE, dtype=np.float32)
    assert np.allclose(np.frombuffer(effect, np.float32), wanted)
    assert np.allclose(np.frombuffer(reading, np.float32).reshape(SIDE, SIDE).T.ravel(), wanted)
    assert get(board, "/index.js")[1].startswith("application/javascript")


@pytest.mark.parametrize("query", ["", "?key=", "?key=nonsense", "?key=other"])
def test_keys_that_are_none(query):
    class Provider:
        def read_blob(self, _, blob_key):
            raise ValueError(blob_key) if blob_key == "nonsense" else errors.NotFoundError("")

    class Context:
        data_provider, sampling_hints = Provider(), None

    apps = LatentLoader().load(Context()).get_plugin_apps()
    answer = Client(apps["/blob"]).get(f"/blob{query}")
    assert answer.status_code in {400, 404}


@pytest.fixture
def tab(board):
    """The tab's own frame, once it shows panels; afterwards there was no error and no request."""
    with opened(viewport={"width": 1300, "height": 900}) as watched:
        watched.page.goto(f"{board}#{PLUGIN_NAME}")
        frame = watched.page.frame_locator("iframe")
        frame.locator("article").first.wait_for()
        yield frame
        assert watched.errors == []
        assert watched.outside == []


def limits(tab):
    return [text.inner_text() for text in tab.locator("article .bar span:last-child").all()]


def test_two_runs_side_by_side_on_one_scale(tab):
    panels = tab.locator("article")
    assert panels.count() == 2
    assert [s.input_value() for s in tab.locator("article select").all()] == ["one", "two"]
    assert tab.locator("header select").input_value() == "unit 3"  # before 11, and before pairs
    assert limits(tab) == ["1.2e+2"] * 4  # of both maps in both panels, at the last step
    assert panels.first.locator("output").inner_text() == "30"
    image = panels.first.locator("img")
    assert image.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [5 * SIDE, SIDE]
    assert "5 images along the direction" in image.get_attribute("alt")


def test_what_a_map_shows_is_what_was_logged(tab):
    """The colours of run one end at a quarter of the common scale."""
    pixel = "c => [...c.getContext('2d').getImageData(7, 7, 1, 1).data]"
    maps = tab.locator("article canvas.map")
    assert maps.nth(2).evaluate(pixel) == [253, 231, 37, 255]  # the end of viridis
    assert maps.nth(0).evaluate(pixel) == [59, 81, 139, 255]  # a quarter of it


def test_run_step_and_entry_are_chosen(tab):
    first = tab.locator("article").first
    first.locator("input").focus()
    first.locator("input").press("ArrowLeft")
    tab.locator("article output >> text=20").first.wait_for()
    first.locator("select").select_option("two")
    tab.locator("header select").select_option("pair 1")
    tab.locator("img[alt*='from one image to the other']").first.wait_for()
    assert "of two at step 20" in first.locator("img").get_attribute("alt")
    tab.get_by_role("button", name="add a panel").click()
    tab.locator("article:nth-of-type(3)").wait_for()
    tab.locator("article").last.get_by_role("button", name="remove").click()
    tab.locator("article:nth-of-type(3)").wait_for(state="detached")


def test_keys_go_on_where_they_were(tab):
    slider = tab.locator("article").first.locator("input")
    slider.focus()
    for step in ("20", "10"):
        tab.locator("article").first.locator("input:focus").press("ArrowLeft")
        tab.locator(f"article:first-of-type img[alt*='step {step}']").wait_for()


def test_an_overtaken_drawing_is_dropped(board):
    """The blobs of step 20 come late: what is shown is still the step that is named."""
    with opened() as watched:
        page, late = watched.page, []
        index = json.loads(get(board, "/entries")[0])
        keys = index["one"]["unit 3"][1]["blobs"]
        watched.page.unroute_all()
        page.route(lambda url: any(key in url for key in keys), lambda route: late.append(route))
        page.goto(f"{board}#{PLUGIN_NAME}")
        frame = page.frame_locator("iframe")
        slider = frame.locator("article:first-of-type input")
        slider.focus()
        slider.press("ArrowLeft")
        page.wait_for_timeout(300)
        slider.press("ArrowLeft")
        frame.locator("article:first-of-type img[alt*='step 10']").wait_for()
        assert late
        for route in late:
            route.continue_()
        page.wait_for_timeout(500)
        assert frame.locator("article:first-of-type img[alt*='step 10']").count() == 1
        assert frame.locator("article:first-of-type output").inner_text() == "10"


def test_what_could_not_be_read_is_said_and_read_again(board):
    with opened() as watched:
        page, broken = watched.page, [True]
        page.unroute_all()
        page.route(
            "**/blob?*",
            lambda route: route.fulfill(status=404, body="gone") if broken else route.continue_(),
        )
        page.goto(f"{board}#{PLUGIN_NAME}")
        frame = page.frame_locator("iframe")
        frame.get_by_text("step 30 could not be read: TensorBoard answered 404").first.wait_for()
        broken.clear()
        frame.get_by_role("button", name="read again").click()
        frame.locator("img").first.wait_for()


def test_maps_of_nothing_do_not_set_the_scale(tmp_path):
    for run, largest in (("one", 0.0), ("two", 0.01)):
        with SummaryWriter(tmp_path / run) as writer:
            write_entry(writer, "unit 0", entry("direction", largest), 1)
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(tmp_path), "--port", "0", "--host", "127.0.0.1"])
    with opened() as watched:
        watched.page.goto(f"{server.launch()}#{PLUGIN_NAME}")
        frame = watched.page.frame_locator("iframe")
        frame.locator("article img").first.wait_for()
        assert limits(frame) == ["0.010"] * 4


def test_nothing_is_wider_than_the_page(tab):
    wide = "m => m.scrollWidth <= document.documentElement.clientWidth"
    assert tab.locator("main").evaluate(wide)
    for panel in tab.locator("article").all():
        assert panel.evaluate("a => a.scrollWidth <= a.clientWidth + 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_quiet_text_can_be_read_on_either_paper(board, scheme):
    colours = """e => {
      const sample = document.createElement("div");
      sample.style.backgroundColor = "Canvas";
      document.body.append(sample);
      return [e, sample].map((one, k) =>
        getComputedStyle(one)[["color", "backgroundColor"][k]].match(/\\d+/g).map(Number));
    }"""
    with opened(color_scheme=scheme) as watched:
        watched.page.goto(f"{board}#{PLUGIN_NAME}")
        quiet = watched.page.frame_locator("iframe").locator("article .quiet").first
        ink, paper = quiet.evaluate(colours)
    assert (sum(paper) > 600) == (scheme == "light")
    assert contrast(ink, paper) >= 4.5


def contrast(*colours):
    """Of two colours, from 1 to 21, as WCAG 2 defines it."""
    shares = np.array([colour[:3] for colour in colours]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


def test_without_entries_the_page_says_how_to_get_them(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("x", 1.0, 0)
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(tmp_path), "--port", "0", "--host", "127.0.0.1"])
    with opened() as watched:
        watched.page.goto(f"{server.launch()}#{PLUGIN_NAME}")
        text = watched.page.frame_locator("iframe").locator("p")
        text.wait_for()
        assert "No directions were logged yet" in text.inner_text()
