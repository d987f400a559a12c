"""What trainings leave in TensorBoard: every tag with sane content, at the right images seen."""

import io
import json
import re
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import LightningDataModule
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.testing import assert_close
from torch.utils.data import DataLoader

from latentkit.data.digits import Digits
from latentkit.explain.pattern import pattern
from latentkit.latent.interpolate import matched
from latentkit.models.vae import VAE
from latentkit.training import classifier
from latentkit.training.base import Training
from latentkit.training.quality import Quality
from latentkit.training.vae import VAETraining
from latentkit.views import atlases, tensorboard
from latentkit.views.atlases import Atlases
from latentkit.views.figures import coloured
from latentkit.views.hparams import FinalNumbers
from latentkit.views.latents import Latents, confusion, counts, kl_bars
from latentkit.views.panel import Panel
from latentkit.views.projector import Projector
from latentkit.views.tensorboard import Pictures, Walks, beside_originals, most_varying
from tests.training.conftest import Stop

NAMES = ["autoencoder", "vae", "gan", "clustergan"]
QUICK = {"limit_train_batches": 3, "limit_val_batches": 1}
ENTRIES = {"unit 0", "unit 1", "unit 2", "unit 3", "pair 1", "pair 2"}
ENCODERS = {"traversals", "interpolations", "directions", "reconstructions"}
PICTURES = {
    "autoencoder": ENCODERS,
    "vae": ENCODERS | {"samples", "KL of each unit"},
    "gan": {"traversals", "interpolations", "directions"}
    | {"samples", "samples of the latest weights"},
    "clustergan": ENCODERS | {"samples", "samples of the latest weights", "clusters and labels"},
}
SPACES = {
    "autoencoder": {"latents"},
    "vae": {"latents", "samples"},
    "gan": {"discriminator features", "samples"},
    "clustergan": {"latents", "discriminator features", "samples"},
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(classifier, "_STEPS", 3)


def everything():
    latents = Latents(every=48, count=16, units=2)
    drawn = [Pictures(every=48, count=8), Walks(every=48), latents, Atlases(every=48)]
    return [*drawn, Projector(every=48, count=16), FinalNumbers()]


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(v, b[k]) for k, v in a.items())


@dataclass
class Pictured:
    """What a training with every panel left.

    Attributes:
        name: of the objective.
        training: the objective, after it.
        folder: of the run.
        found: its event file.
        said: on the console.
        undisturbed: whether the global random state is what it was.
    """

    name: str
    training: Training
    folder: Path
    found: EventAccumulator
    said: str
    undisturbed: bool


@pytest.fixture(scope="module", params=NAMES)
def pictured(request, make, few, trainer, events, tmp_path_factory):
    """One training of each objective: drawing takes long."""
    place, training = tmp_path_factory.mktemp(request.param), make(request.param)
    board = TensorBoardLogger(place, "runs", version=0, default_hp_metric=False)
    quick = {**QUICK, "max_epochs": 3, "num_sanity_val_steps": 1}
    before = torch.get_rng_state()
    with redirect_stderr(io.StringIO()) as said:
        trainer(logger=board, callbacks=everything(), **quick).fit(training, few())
    undisturbed = torch.equal(torch.get_rng_state(), before)
    folder = Path(board.log_dir)
    found = events(folder)
    return Pictured(request.param, training, folder, found, said.getvalue(), undisturbed)


def test_every_promised_tag_is_there_with_sane_content(pictured):
    name, folder, found = pictured.name, pictured.folder, pictured.found
    assert "nothing drawn" not in pictured.said
    assert set(found.Tags()["images"]) == PICTURES[name]
    for tag in PICTURES[name]:
        first, last = found.Images(tag)  # after 48 of 72 images, and at the end
        assert (first.step, last.step) == (6, 9)  # batches, not the steps of two optimizers
        pixels = np.asarray(Image.open(io.BytesIO(last.encoded_image_string)))
        assert pixels.shape == (last.height, last.width, 3)
        assert 10 < last.height < 1500
        assert 20 < last.width < 2500
        assert pixels.std() > 1  # something is on it
    histograms = {"latents/all units", "latents/unit 0", "latents/unit 1"}
    assert set(found.Tags()["histograms"]) == (set() if name == "gan" else histograms)
    spaces = {p.parent.name for p in folder.rglob("tensors.tsv")}
    assert spaces == SPACES[name]
    sessions = found.PluginTagToContent("hparams")
    assert set(sessions) == {
        f"_hparams_/{k}" for k in ("experiment", "session_start_info", "session_end_info")
    }
    assert b"train/" in sessions["_hparams_/experiment"]  # a number to compare by
    config = (folder / "projector_config.pbtxt").read_text()
    assert all(space in config for space in spaces)


def test_entries_of_the_latent_tab(pictured):
    name, found = pictured.name, pictured.found
    entries = set(found.PluginTagToContent("latentkit"))
    assert {e.split()[0] for e in entries} == {"unit", "pair"}
    assert len(entries) == (5 if name == "clustergan" else 6)  # with three continuous units
    for tag in entries:
        first, last = found.Tensors(tag)
        assert (first.step, last.step) == (6, 9)
        head, strip, *maps = last.tensor_proto.string_val
        head = json.loads(head)
        assert head["kind"] == tag.split()[0].replace("unit", "direction")
        assert Image.open(io.BytesIO(strip)).size == (7 * 8, 8)
        asked = "kept" if name == "gan" else "reading"
        assert [m["question"] for m in head["maps"]] == ["effect", asked]
        for place, raw in zip(head["maps"], maps, strict=True):
            values = np.frombuffer(raw, np.float32)
            assert len(values) == place["height"] * place["width"] == 64
            assert np.isfinite(values).all()
            assert values.max() > 0
        if tag.startswith("unit"):  # numbers that were measured, and no claim that was not
            (note,) = head["notes"]
            assert re.fullmatch(r"retrieval \d\.\d\d on 8 images, chance 0\.20", note)


def test_drawing_changes_nothing_in_the_training(make, few, trainer, pictured):
    plain = make(pictured.name)
    trainer(max_epochs=3, **QUICK).fit(plain, few())
    assert same(pictured.training, plain)
    assert pictured.training.training  # as the loop left it
    assert pictured.undisturbed


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "bf16-mixed") for name in NAMES), ("vae", "64-true"), ("vae", "bf16-true")],
)
def test_every_precision_is_drawn_and_measured(make, few, run, events, capsys, name, precision):
    quality = Quality(count=64)
    data = Digits(size=8, batch_size=16)
    folder = run(make(name), data, *everything(), quality, max_epochs=1, precision=precision)
    assert "nothing drawn" not in capsys.readouterr().err
    assert set(events(folder).Tags()["images"]) == PICTURES[name]
    distances = [t for t in events(folder).Tags()["scalars"] if t.startswith("val/frechet")]
    assert len(distances) == (name != "autoencoder")


def test_the_pictures_are_what_they_say(make, few, run, events):
    """Strips against the decoder, maps against a difference, errors against their colours."""
    training, data = make("vae"), few()
    folder = run(training, data, Atlases(every=10_000, directions=2, pairs=1))
    training.eval()
    x = data.split("val")[:][0]  # 16 images, all of which are looked at
    with torch.no_grad():
        z = training.encode(x)
        found = events(folder)
        for unit in most_varying(training.model, z, 2):
            strip, maps = entry(found, f"unit {unit}")
            ends = z[:1].repeat(2, 1)
            ends[:, unit] += torch.tensor([-2.0, 2.0]) * z[:, unit].std()
            assert_close(strip[[0, -1]], training.decode(ends)[:, 0], atol=0.003, rtol=0)
            d = torch.zeros(4)
            d[unit] = 1e-2
            change = (training.decode(z[:1] + d) - training.decode(z[:1] - d)).abs() / 2e-2
            alike = torch.cosine_similarity(maps["effect"].flatten(), change.flatten(), 0)
            assert alike > 0.995  # the difference crosses kinks
        strip, _ = entry(found, "pair 1")
        assert_close(strip[[0, -1]], training.decode(z[:2])[:, 0], atol=0.003, rtol=0)


def test_the_maps_of_a_pair_are_those_of_its_middle_image(make, few, run, events):
    """On the matched way, which is not the middle of the two latents."""
    training, data = make("vae"), few()
    folder = run(training, data, Atlases(every=10_000, pairs=1))
    training.eval()
    decode = training.decode
    with torch.no_grad():
        a, b = training.encode(data.split("val")[:2][0])
        path = matched(a[None], b[None], 7, training.model.prior)[0]
        strip, maps = entry(events(folder), "pair 1")
        assert_close(strip[3], decode(path[3:4])[0, 0], atol=0.003, rtol=0)
        assert_close(maps["effect"], difference(decode, path[3], path[4] - path[2]), **NEAR)
        halfway = difference(decode, (a + b) / 2, b - a)
    with pytest.raises(AssertionError):
        assert_close(maps["effect"], halfway, **NEAR)


NEAR = {"atol": 2e-3, "rtol": 0.02}


def difference(decode, z, d):
    """What a small step along d changes, (H, W) per unit of latent length."""
    step = 1e-2 * d / d.norm()
    return ((decode((z + step)[None]) - decode((z - step)[None])) / 2e-2)[0].norm(dim=0)


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_pair_is_read_as_if_it_were_alone(make, few, run, events, pairs):
    training, data = make("vae"), few()
    folder = run(training, data, Atlases(every=10_000, pairs=pairs))
    training.eval()
    with torch.no_grad():
        z = training.encode(data.split("val")[:][0])
        ends = matched(z[:pairs], z[pairs : 2 * pairs], 7, training.model.prior)
        spread = float(z.std(0).mean())
        for k, path in enumerate(ends):
            at, way = path[3:4], path[4:5] - path[2:3]
            alone = pattern(training.encode, training.decode, at, way, spread=spread)
            _, maps = entry(events(folder), f"pair {k + 1}")
            assert_close(maps["reading"], alone[0, 0, 0].abs(), atol=1e-3, rtol=1e-3)


def entry(found, tag):
    """The strip (T, H, W) and the maps (H, W) of an entry."""
    head, strip, *maps = found.Tensors(tag)[-1].tensor_proto.string_val
    pixels = torch.from_numpy(np.asarray(Image.open(io.BytesIO(strip))).copy()) / 255
    questions = [m["question"] for m in json.loads(head)["maps"]]
    values = [torch.frombuffer(bytearray(raw), dtype=torch.float32).view(8, 8) for raw in maps]
    return pixels.view(8, -1, 8).movedim(1, 0), dict(zip(questions, values, strict=True))


def test_errors_have_fixed_colours():
    x = torch.zeros(3, 1, 4, 4)
    rebuilt = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    sheet = beside_originals(x, rebuilt)
    middle = [sheet[:, 2 * (4 + 2) + 4, 2 + k * 6 + 2] for k in range(3)]
    wanted = torch.tensor([colormaps["viridis"](v)[:3] for v in (0.0, 0.5, 1.0)]).float()
    assert_close(torch.stack(middle), wanted, atol=0.01, rtol=0)
    assert coloured(torch.full((1, 2, 2), torch.nan), (0.0, 1.0)).isfinite().all()


def test_no_single_unit_leaves_the_class_code(make):
    """The class part of a ClusterGAN varies most where sigma is small, but is one code."""
    model = make("clustergan").model
    z = model.prior.sample(100, generator=torch.Generator().manual_seed(0))
    assert sorted(most_varying(model, z, 8)) == [0, 1, 2]


def test_the_units_of_a_run_stay_the_same(make, few, run, trainer, tmp_path):
    panel = Atlases(every=24)
    run(make("vae"), few(), panel, max_epochs=2)
    again = Atlases(every=24)
    again.load_state_dict(panel.state_dict())
    assert again._chosen == panel._chosen != []


def test_the_rows_of_the_traversals_stay_the_same(make, few, run, monkeypatch):
    """Though other units vary most later, also in a resumed run."""
    drawn = []
    monkeypatch.setattr(tensorboard, "sheet", lambda *words: drawn.append(words[1]) or Figure())
    panel, training = Walks(every=24, units=2), make("vae")
    run(training, few(), panel)
    monkeypatch.setattr(tensorboard, "most_varying", lambda *_: [2, 3])
    again = Walks(every=24, units=2)
    again.load_state_dict(panel.state_dict())
    run(training, few(), again)
    first, second = (rows for rows in drawn if rows[0].startswith("unit"))
    assert first == second != ["unit 2", "unit 3"]


def test_the_colours_of_a_run_stay_the_same(make, few, run, monkeypatch):
    """A generator that changes nothing any more is drawn dark, also in a resumed run."""
    limits = []
    monkeypatch.setattr(
        atlases, "atlas", lambda rows, *_: limits.append(dict(rows.limits)) or Figure()
    )
    panel, training = Atlases(every=24), make("vae")
    run(training, few(), panel)
    state = json.loads(json.dumps(panel.state_dict()))  # plain, as weights_only asks for
    again = Atlases(every=24)
    again.load_state_dict(state)
    with torch.no_grad():
        for weights in training.parameters():
            weights *= 0.5
    run(training, few(), panel)
    run(training, few(), again)
    assert set(limits[0]) == {"effect", "encoder reading"}
    assert limits[0]["effect"][1] > 0
    assert limits[0] == limits[1] == limits[2]


def test_one_latent_unit_has_nothing_to_be_told_from(few, run, events):
    training = VAETraining(VAE((1, 8, 8), 1, width=4, hidden=16))
    found = events(run(training, few(), Atlases(every=24)))
    head = json.loads(found.Tensors("unit 0")[0].tensor_proto.string_val[0])
    assert head["notes"] == []


class Counted(Panel):
    """Notes when it would draw."""

    def __init__(self, every):
        super().__init__(every)
        self.at = []

    def draw(self, board, trainer, module):
        self.at.append(int(module.iteration))


@pytest.mark.parametrize(
    ("every", "at"), [(8, [*range(1, 13)]), (32, [4, 8, 12]), (40, [5, 10, 12])]
)
def test_the_cadence_is_in_images(make, few, run, every, at):
    panel = Counted(every)
    run(make("gan"), few(), panel, max_epochs=2, limit_train_batches=6)
    assert panel.at == at


def test_never(make, few, run, events):
    panel = Counted(0)
    run(make("gan"), few(), panel)
    assert panel.at == []


def test_a_resumed_run_goes_on_counting(make, few, run, trainer, tmp_path):
    panel, path = Counted(40), tmp_path / "half.ckpt"
    stopped = trainer(callbacks=[panel, Stop(3)])
    stopped.fit(make("gan"), few())
    stopped.save_checkpoint(path)
    again = Counted(40)
    run(make("gan"), few(), again, max_epochs=2, limit_train_batches=6, ckpt_path=path)
    assert again.at == [5, 9]  # of 72 images: at 40, and at the end


def test_the_same_latents_are_drawn_each_time(make, few, run, events):
    """A generator that does not learn gives the same picture again."""
    folder = run(make("gan", critic_steps=1000), few(), Pictures(every=24), max_epochs=2)
    first, second = events(folder).Images("samples")
    assert first.encoded_image_string == second.encoded_image_string


class Foreign(LightningDataModule):
    """Somebody else's: batches of what `form` makes, in an order that one generator gives."""

    def __init__(self, few, form):
        super().__init__()
        self.images, self.form = few().split("train"), form
        self.generator = torch.Generator().manual_seed(0)

    def train_dataloader(self):
        x, y = self.images[:]
        pairs = [self.form(a, int(b)) for a, b in zip(x, y, strict=True)]
        return DataLoader(pairs, batch_size=8, shuffle=True, generator=self.generator)

    val_dataloader = train_dataloader


FORMS = {
    "usual": lambda x, y: (x, y),
    "no labels": lambda x, _: (x,),
    "words": lambda x, y: (x, str(y)),
    "many labels": lambda x, y: (x, torch.full((40,), y)),
    "dictionary": lambda x, y: (x, {"label": y}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_somebody_elses_data_are_drawn_and_not_disturbed(
    make, few, run, events, trainer, capsys, form
):
    drawn, plain = make("vae"), make("vae")
    panels = everything()
    if form is not FORMS["usual"]:  # these two see no labels, and take longest
        panels = [p for p in panels if not isinstance(p, Walks | Atlases)]
    folder = run(drawn, Foreign(few, form), *panels, max_epochs=2, num_sanity_val_steps=0)
    trainer(max_epochs=2, **QUICK).fit(plain, Foreign(few, form))
    assert same(drawn, plain)
    assert "nothing drawn" not in capsys.readouterr().err
    assert {"samples", "reconstructions"} <= set(events(folder).Tags()["images"])


@pytest.mark.parametrize("sanity", [0, 2])
def test_somebody_elses_images_are_kept_once(make, few, run, sanity):
    """Those of the first validation, also where there are fewer than would be kept."""
    at = []

    class Held(Counted):
        def draw(self, board, trainer, module):
            at.append(self.held_out(trainer, 1000).images)

    data = Foreign(few, FORMS["usual"])
    run(make("vae"), data, Held(24), max_epochs=4, limit_val_batches=2, num_sanity_val_steps=sanity)
    _, *later = at  # the first drawing is before the first validation
    assert all(torch.equal(images, later[0]) for images in later)
    assert len(later[0]) == len(later[0].flatten(1).unique(dim=0)) == 16


def test_what_cannot_be_drawn_is_said_once(few, run, events, capsys):
    """Two channels are no picture: not of samples, and not in the Latent tab."""
    training = VAETraining(VAE((2, 8, 8), 2, width=4, hidden=16))
    data = Foreign(few, lambda x, y: (x.repeat(2, 1, 1), y))
    folder = run(training, data, *everything(), max_epochs=3, limit_val_batches=2)
    assert int(training.iteration) == 9
    said = capsys.readouterr().err
    for panel in ("pictures", "walks", "atlases"):
        assert said.count(f"{panel}: nothing drawn") == 1
    assert said.count("expected images with 1 or 3 channels, got 2") == 3
    found = events(folder)
    assert set(found.Tags()["images"]) == {"KL of each unit"}
    with pytest.raises(KeyError):
        found.PluginTagToContent("latentkit")
    assert {p.parent.name for p in folder.rglob("tensors.tsv")} == {"latents", "samples"}


def words(found):
    (said,) = {t.tensor_proto.string_val[0] for t in found.Tensors("projector/text_summary")}
    return said.decode()


@pytest.mark.parametrize(
    ("name", "foreign", "said"),
    [
        ("autoencoder", False, "16 validation images, evenly spaced"),
        ("vae", False, "16 validation images, evenly spaced; 16 samples"),
        ("vae", True, "8 validation images, the first ones; 16 samples"),
    ],
)
def test_the_projector_says_what_it_shows(make, few, run, events, name, foreign, said):
    data = Foreign(few, FORMS["usual"]) if foreign else few()
    folder = run(make(name), data, Projector(every=10_000, count=16))
    assert words(events(folder)) == said


def test_without_validation_images(make, few, run, events):
    class Own(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(few().split("train"), batch_size=None, sampler=[[0, 1], [2, 3]])

    folder = run(make("vae"), Own(), *everything())
    found = events(folder)
    assert set(found.Tags()["images"]) == {"samples"}
    assert words(found) == "16 samples"


def test_a_picture_that_fails_does_not_end_the_training(make, few, run, capsys):
    class Broken(Counted):
        def draw(self, board, trainer, module):
            super().draw(board, trainer, module)
            raise ValueError("no such thing")

    panel, training = Broken(24), make("gan")
    run(training, few(), panel, max_epochs=2)
    assert panel.at == [3, 6]
    assert int(training.iteration) == 6
    assert "broken: nothing drawn at iteration 3: no such thing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Pictures(every=-1), r"pictures\.every of 0 or more"),
        (lambda: Pictures(count=0), r"pictures\.count of 1 or more"),
        (lambda: Walks(units=0), r"walks\.units"),
        (lambda: Latents(count=1), r"latents\.count of 2"),
        (lambda: Atlases(directions=0), r"atlases\.directions of 1"),
    ],
)
def test_settings_that_are_none(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_most_varying_units_come_first():
    z = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    assert most_varying(None, z * torch.tensor([1.0, 3.0, 0.0, 2.0]), 3) == [1, 3, 0]


def test_confusion_counts_every_known_label():
    clusters, labels = torch.tensor([0, 0, 2, 2, 1]), torch.tensor([1, 1, 0, -1, 1])
    assert counts(clusters, labels, 2, 3).tolist() == [[0, 2], [0, 1], [1, 0]]
    figure = confusion(clusters, labels, ["a", "b"], 3)
    image = figure.axes[0].get_images()[0].get_array()
    assert image.tolist() == [[0, 2 / 3], [0, 1 / 3], [1, 0]]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["a", "b"]


def test_bars_of_the_kl():
    (axes,) = kl_bars(torch.tensor([0.5, 2.0, 0.0])).axes
    assert [bar.get_height() for bar in axes.patches] == [2.0, 0.5, 0.0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "0", "2"]
    assert axes.get_title() == "KL of each unit, 2.5 in all"


def test_bars_of_thousands_of_units_are_those_of_the_most_active():
    kl = torch.arange(3000.0)
    figure = kl_bars(kl)
    (axes,) = figure.axes
    assert figure.get_size_inches()[0] < 20
    assert [bar.get_height() for bar in axes.patches] == [2999.0 - k for k in range(64)]
    assert "4498500.0 in all; the 64 largest of 3000 units" in axes.get_title()
