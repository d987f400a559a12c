"""Every verb on small saved models: the promised files, and numbers that are right."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch.nn import functional

import latentkit
from latentkit.cli import main
from latentkit.cli.generating import sampling
from latentkit.cli.named.sources import open_data
from latentkit.latent.two_stage import two_stage
from latentkit.store import fingerprint, load_directions
from tests.cli.conftest import SHAPE, SIDE, random_part, result

PROMISED = {
    "sample dcgan": {"sample.png"},
    "sample vae --count 5 --columns 2": {"sample.png"},
    "sample clustergan": {"sample.png"},
    "sample ae --sampler gmm --components 3": {"sample.png"},
    "sample vae --sampler empirical --data small.npz": {"sample.png"},
    "sample clustergan --sampler gmm --components 2 --data small.npz": {"sample.png"},
    "reconstruct vae": {"reconstruct.png"},
    "reconstruct ae --split train": {"reconstruct.png"},
    "encode ae --limit 20": {"encode.npz"},
    "encode clustergan --data small.npz": {"encode.npz"},
    "interpolate vae --from item:0 --to seed:1": {
        "interpolate.png",
        "interpolate.gif",
        "latents.npy",
    },
    "cluster vae --data small.npz --split train": {"cluster.png", "cluster.npz"},
    "cluster clustergan --method encoder --limit 40": {"cluster.png", "cluster.npz"},
    "cluster ae --data small.npz --split train --method gmm --clusters 2": {
        "cluster.png",
        "cluster.npz",
    },
    "cluster vae --method spectral --clusters 3 --limit 40": {"cluster.png", "cluster.npz"},
    "cluster vae --method hdbscan --limit 60": {"cluster.png", "cluster.npz"},
    "cluster ae --method dec --clusters 2 --limit 20": {"cluster.png", "cluster.npz"},
    "cluster ae --clusters auto --limit 30": {"cluster.png", "cluster.npz"},
    "mix vae": {"mix.png"},
    "mix ae": {"mix.png"},
    "mix dcgan --rows 2 --columns 3": {"mix.png"},
    "augment vae --per-class 2": {"augment.npz", "augment.png"},
    "augment ae --per-class 2 --method mixup": {"augment.npz", "augment.png"},
    "augment vae --per-class 2 --method gaussian": {"augment.npz", "augment.png"},
    "augment vae --per-class 2 --method jitter --strength 0.2": {"augment.npz", "augment.png"},
    "augment ae --per-class 2 --method slerp": {"augment.npz", "augment.png"},
    "directions vae": {"directions.safetensors"},
    "directions dcgan --method jacobian": {"directions.safetensors"},
    "directions dcgan --method sefa": {"directions.safetensors"},
    "directions vae --method region --region center": {"directions.safetensors"},
    "directions clustergan --method axes --count 2": {"directions.safetensors"},
    "directions vae --method attribute --start label:0 --end label:1": {"directions.safetensors"},
    "explain vae --score unit:0 unit:5 --images 2": {"explain.png"},
    "evaluate vae --limit 30": set(),
    "evaluate dcgan --limit 30": set(),
    "evaluate clustergan --limit 30": set(),
}


def in_full(words):
    """ "sample vae" -> sample vae.safetensors."""
    verb, model, *rest = words.split()
    return [verb, f"{model}.safetensors", *rest]


@pytest.mark.parametrize("words", PROMISED)
def test_a_verb_writes_exactly_its_files_and_says_how(ok, place, words):
    before = {*place.rglob("*")}
    printed = ok(*in_full(words))
    verb, name = words.split()[:2]
    folder = place / "outputs" / verb
    new = {p.relative_to(folder).as_posix() for p in {*place.rglob("*")} - before if p.is_file()}
    assert new == PROMISED[words] | {"result.json"}
    content = result(folder / "result.json")
    assert content["verb"] == verb
    assert set(content["files"]) == PROMISED[words]
    assert content["model"] == f"{name}.safetensors"
    assert content["fingerprint"] == fingerprint(latentkit.load(f"{name}.safetensors"))
    assert content["versions"]["torch"] == torch.__version__
    assert content["versions"]["latentkit"] == latentkit.__version__
    assert content["settings"]["seed"] == 0
    assert content["numbers"]
    for file in PROMISED[words]:
        assert f"outputs/{verb}/{file}" in printed


def test_out_names_the_main_file_or_the_folder(ok, place):
    ok("sample", "vae.safetensors", "--out", "deep/down/sheet.png")
    assert {p.name for p in (place / "deep/down").iterdir()} == {"sheet.png", "sheet.json"}
    ok("sample", "vae.safetensors", "--out", "deep")
    assert (place / "deep" / "sample.png").is_file()
    assert result(place / "deep" / "result.json")["files"] == ["sample.png"]
    ok("evaluate", "vae.safetensors", "--limit", 12, "--out", "scores.json")
    assert result(place / "scores.json")["verb"] == "evaluate"


def test_results_tell_every_option_and_side_files_are_named_after_the_main_one(ok, small):
    place = small.parent
    words = ["--data", str(small), "--clusters", 2, "--limit", 5]
    for name in ("a", "b"):
        ok("cluster", "vae.safetensors", *words, "--out", place / f"{name}.png")
    assert {"a.png", "a.npz", "a.json", "b.npz"} <= {p.name for p in place.iterdir()}
    settings = result(place / "a.json")["settings"]
    assert settings["data"] == str(small)
    assert (settings["clusters"], settings["limit"], settings["method"]) == (2, 5, "kmeans")
    ends = ["--from", "seed:1", "--to", "seed:2"]
    ok("interpolate", "vae.safetensors", *ends, "--out", place / "w.png")
    assert result(place / "w.json")["files"] == ["w.png", "w.gif", "w_latents.npy"]
    assert (place / "w_latents.npy").is_file()


def test_samples_depend_on_the_seed_alone(ok, place):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        ok("sample", "dcgan.safetensors", "--seed", seed, "--out", f"{name}.png")
    a, b, c = ((place / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def at_true_size(path):
    """A sheet without the repetition of its pixels, by which small ones are enlarged."""
    sheet = np.array(Image.open(path))
    times = sheet.shape[0] // (SIDE + 4)
    small = sheet[::times, ::times]
    assert np.array_equal(sheet, small.repeat(times, 0).repeat(times, 1))
    return small


def test_samples_are_the_decoded_prior(ok, place):
    ok("sample", "vae.safetensors", "--count", 3, "--columns", 3, "--seed", 5)
    model = latentkit.load("vae.safetensors")
    z = model.prior.sample(3, generator=torch.Generator().manual_seed(5))
    expected = (model.decode(z)[:, 0] * 255).round().byte().detach().numpy()
    sheet = at_true_size(place / "outputs/sample/sample.png")
    assert sheet.shape == (SIDE + 4, 3 * (SIDE + 2) + 2, 3)
    for k in range(3):
        left = 2 + k * (SIDE + 2)
        found = sheet[2 : 2 + SIDE, left : left + SIDE]
        assert np.array_equal(found, np.repeat(expected[k, :, :, None], 3, 2))


@torch.no_grad()
def test_a_sampler_is_fitted_to_training_latents_and_the_result_tells_how(ok, place, digits):
    words = ["--count", 3, "--columns", 3, "--sampler", "empirical", "--bandwidth", 0]
    ok("sample", "ae.safetensors", *words, "--seed", 5)
    settings = result(place / "outputs/sample/result.json")["settings"]
    train, model = digits.split("train")[:][0], latentkit.load("ae.safetensors")
    assert (settings["sampler"], settings["bandwidth"]) == ("empirical", 0)
    assert settings["fitted_to"] == len(train)
    copies = (model(train)[:, 0] * 255).round().byte().numpy()
    sheet = at_true_size(place / "outputs/sample/sample.png")
    for left in range(2, 3 * (SIDE + 2), SIDE + 2):
        found = sheet[2 : 2 + SIDE, left : left + SIDE, 0]
        assert np.abs(copies.astype(int) - found).max(axis=(1, 2)).min() <= 1


def test_the_settings_of_each_sampler_are_told(ok, place, monkeypatch):
    expected = {
        "prior": {"sampler": "prior", "components": None, "bandwidth": None},
        "gmm": {"components": 10, "reg": 1e-4, "bandwidth": None, "fitted_to": 48},
        "empirical": {"bandwidth": pytest.approx(48 ** (-1 / 10)), "fitted_to": 48},
        "two-stage": {"steps": 6000, "batch": 128, "lr": 2e-3, "fitted_to": 48},
    }
    quick = lambda z, steps, *rest: two_stage(z, 3, *rest)  # noqa: E731
    monkeypatch.setattr(sampling, "two_stage", quick)
    for name, wanted in expected.items():
        ok("sample", "vae.safetensors", "--sampler", name, "--data", "small.npz")
        settings = result(place / "outputs/sample/result.json")["settings"]
        assert {**settings, **wanted} == settings


@torch.no_grad()
def test_reconstruction_error_is_right(ok, place, digits):
    ok("reconstruct", "ae.safetensors", "--count", 12)
    model, (x, _) = latentkit.load("ae.safetensors"), digits.split("test")[:12]
    errors = (model.decode(model.encode(x)) - x).double().square().mean(dim=(1, 2, 3))
    numbers = result(place / "outputs/reconstruct/result.json")["numbers"]
    assert numbers["images"] == 12
    assert numbers["mse"] == pytest.approx(errors.mean().item(), rel=1e-5)
    assert numbers["psnr_db"] == pytest.approx((-10 * errors.log10()).mean().item(), rel=1e-5)


@torch.no_grad()
def test_encode_writes_what_encode_gives(ok, place, digits):
    ok("encode", "vae.safetensors", "--split", "val", "--limit", 270, "--out", "z.npz")
    x, y = digits.split("val")[:270]
    with np.load(place / "z.npz") as found:
        assert found.files == ["z", "y"]
        expected = latentkit.load("vae.safetensors").encode(x)
        torch.testing.assert_close(torch.from_numpy(found["z"]), expected)
        assert np.array_equal(found["y"], y.numpy())
    assert result(place / "z.json")["numbers"] == {"latents": 270, "shape": [6]}


def test_encode_writes_a_projector(ok, place):
    said = ok("encode", "ae.safetensors", "--limit", 10, "--projector", "board")
    assert "tensorboard --logdir board" in said
    (metadata,) = (place / "board").rglob("metadata.tsv")
    assert len(metadata.read_text().splitlines()) == 1 + 10
    (sprite,) = (place / "board").rglob("sprite.png")
    assert Image.open(sprite).size == (4 * SIDE, 4 * SIDE)


@torch.no_grad()
@pytest.mark.parametrize("method", ["lerp", "slerp", "matched"])
def test_a_walk_begins_and_ends_at_its_endpoints(ok, place, digits, method):
    words = ["--from", "item:4", "--to", "item:2", "--through", "item:7", "seed:1"]
    ok("interpolate", "vae.safetensors", *words, "--steps", 5, "--method", method, "--out", "w")
    model = latentkit.load("vae.safetensors")
    path = torch.from_numpy(np.load(place / "w" / "latents.npy"))
    assert path.shape == (3 * 4 + 1, 6)
    ends = model.encode(digits.split("test")[[4, 7, 2]][0])
    torch.testing.assert_close(path[[0, 4, 12]], ends)
    drawn = model.prior.sample(1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(path[8:9], drawn)
    content = result(place / "w" / "result.json")
    assert content["settings"]["anchors"] == ["item:4", "item:7", "seed:1", "item:2"]
    images = model.decode(path).flatten(1)
    length = (images[1:] - images[:-1]).norm(dim=1).sum().item()
    assert content["numbers"]["path_length"] == pytest.approx(length, rel=1e-4)
    assert content["numbers"]["points"] == 13


def test_the_animation_goes_there_and_back(ok, place):
    ok("interpolate", "vae.safetensors", "--from", "seed:0", "--to", "seed:1", "--steps", 6)
    with Image.open(place / "outputs/interpolate/interpolate.gif") as gif:
        assert gif.n_frames == 6 + 4
        assert gif.size == (256, 256)
        assert gif.info["loop"] == 0
    strip = at_true_size(place / "outputs/interpolate/interpolate.png")
    assert strip.shape == (SIDE + 4, 6 * (SIDE + 2) + 2, 3)


@torch.no_grad()
def test_endpoints_of_every_kind(ok, place, digits):
    x, _ = digits.split("test")[[3]]
    Image.fromarray((x[0, 0] * 255).round().byte().numpy()).save(place / "three.png")
    np.save(place / "flat.npy", np.arange(6, dtype=np.float64))
    np.save(place / "row.npy", np.arange(6, dtype=np.int32)[None])
    model = latentkit.load("vae.safetensors")
    for spec, expected in (
        ("three.png", model.encode(x)[0]),
        ("flat.npy", torch.arange(6.0)),
        ("row.npy", torch.arange(6.0)),
    ):
        ok("interpolate", "vae.safetensors", "--from", spec, "--to", "seed:0", "--steps", 2)
        path = np.load(place / "outputs/interpolate/latents.npy")
        torch.testing.assert_close(torch.from_numpy(path[0]), expected)


def test_a_cluster_is_the_code_of_a_clustergan_and_a_centre_elsewhere(ok, place):
    ok("interpolate", "clustergan.safetensors", "--from", "cluster:2", "--to", "cluster:9")
    path = np.load(place / "outputs/interpolate/latents.npy")
    assert np.array_equal(path[0], np.eye(14)[4 + 2])
    assert np.array_equal(path[-1], np.eye(14)[4 + 9])
    data = ("--data", "small.npz", "--steps", 2)
    ok("interpolate", "ae.safetensors", "--from", "cluster:0", "--to", "cluster:1", *data)
    path = np.load(place / "outputs/interpolate/latents.npy")
    z = latentkit.load("ae.safetensors").encode(open_data("small.npz", {}).split("train")[:][0])
    distance = torch.cdist(torch.from_numpy(path), z.detach())
    assert (path[0] != path[1]).any()
    assert (distance.amin(1) < distance.mean(1)).all()  # a centre lies among the points


def best_matching(labels, clusters):
    """Accuracy by trying: the best of all one-to-one assignments, by recursion."""

    def best(table):
        if not table:
            return 0
        return max(
            table[0][k] + best([row[:k] + row[k + 1 :] for row in table[1:]])
            for k in range(len(table[0]))
        )

    table = [[int(((labels == a) & (clusters == b)).sum()) for b in range(3)] for a in range(3)]
    return best(table) / len(labels)


def test_cluster_scores_can_be_recomputed_from_the_npz(ok, place, digits):
    x, y = digits.split("train")[:400]
    three = y < 3
    np.savez(place / "three.npz", x=(x[three, 0] * 255).round().byte().numpy(), y=y[three].numpy())
    ok("cluster", "ae.safetensors", "--data", "three.npz", "--split", "train", "--out", "c")
    numbers = result(place / "c" / "result.json")["numbers"]
    with np.load(place / "c" / "cluster.npz") as found:
        cluster, label, z = found["cluster"], found["label"], found["z"]
    assert len(z) == len(label) == numbers["images"]
    assert numbers["clusters"] == len(np.unique(cluster)) == 3
    assert numbers["acc"] == pytest.approx(best_matching(label, cluster))
    assert numbers["nmi"] == pytest.approx(normalized_mutual_info_score(label, cluster))
    assert numbers["ari"] == pytest.approx(adjusted_rand_score(label, cluster))
    majority = sum(np.bincount(label[cluster == k]).max() for k in range(3))
    assert numbers["purity"] == pytest.approx(majority / len(label))
    assert -1 <= numbers["stability"] <= 1


@torch.no_grad()
def test_the_encoders_own_clusters(ok, place, digits):
    ok("cluster", "clustergan.safetensors", "--method", "encoder", "--limit", 60)
    with np.load(place / "outputs/cluster/cluster.npz") as found:
        cluster, z = found["cluster"], found["z"]
    x, _ = digits.split("test")[:60]
    assert np.array_equal(cluster, z[:, 4:].argmax(1))
    assert np.array_equal(cluster, latentkit.load("clustergan.safetensors").cluster(x).numpy())


def test_unlabelled_images_are_clustered_without_scores(ok, place, digits):
    x, _ = digits.split("train")[:40]
    np.savez(place / "bare.npz", x=(x[:, 0] * 255).byte().numpy())
    ok("cluster", "ae.safetensors", "--data", "bare.npz", "--split", "train", "--clusters", 3)
    numbers = result(place / "outputs/cluster/result.json")["numbers"]
    assert set(numbers) == {"clusters", "images", "silhouette", "stability"}


@torch.no_grad()
def test_smote_blends_training_images_of_one_class(ok, place):
    ok("augment", "ae.safetensors", "--data", "small.npz", "--per-class", 3)
    with np.load(place / "outputs/augment/augment.npz") as found:
        x, y, soft, z = (torch.from_numpy(found[k]) for k in ("x", "y", "soft", "z"))
    assert y.tolist() == [k for k in range(10) for _ in range(3)]
    assert torch.equal(soft, functional.one_hot(y, 10).float())
    model = latentkit.load("ae.safetensors")
    expected = (model.decode(z) * 255).round().byte().movedim(1, -1)
    assert x.shape == (30, SIDE, SIDE, 1)
    assert (x.int() - expected.int()).abs().max() <= 1
    images, labels = open_data("small.npz", {}).split("train")[:]
    train = model.encode(images)
    for new, label in zip(z, y, strict=True):
        assert on_a_segment(new, train[labels == label])
    content = result(place / "outputs/augment/result.json")
    assert content["numbers"] == {"images": 30, "from": 48}


def on_a_segment(point, members):
    """Whether it lies between two of the members, to rounding."""
    a, b = members[:, None], members[None]
    gap = (a - point).norm(dim=-1) + (b - point).norm(dim=-1) - (a - b).norm(dim=-1)
    gap.fill_diagonal_(torch.inf)
    return bool(gap.min() < 1e-3)


def test_noise_is_said_and_counts_as_wrong(ok, place, digits):
    x, y = digits.split("train")[:]
    rows = torch.cat([(y == k).nonzero()[:60, 0] for k in (0, 1)])
    lonely = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images = (torch.cat([x[rows, 0], lonely]) * 255).round().byte().numpy()
    np.savez(place / "two.npz", x=images, y=torch.cat([y[rows], torch.ones(3)]).long().numpy())
    words = ["--data", "two.npz", "--split", "train", "--method", "hdbscan"]
    ok("cluster", "ae.safetensors", *words)
    content = result(place / "outputs/cluster/result.json")
    with np.load(place / "outputs/cluster/cluster.npz") as found:
        cluster = found["cluster"]
    numbers = content["numbers"]
    assert numbers["noise"] == pytest.approx((cluster == -1).mean())
    assert 0 < numbers["noise"] < 1
    assert numbers["clusters"] == cluster.max() + 1 >= 1
    assert numbers["acc"] <= 1 - numbers["noise"] + 1e-9
    assert content["settings"]["min_size"] == 5


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_the_number_of_clusters_can_be_chosen(ok, place, digits, method):
    words = ["--method", method, "--clusters", "auto", "--limit", 40]
    ok("cluster", "ae.safetensors", *words)
    content = result(place / "outputs/cluster/result.json")
    numbers = content["numbers"]
    table = {int(k): v for k, v in numbers["table"].items()}
    best = max(table, key=table.get) if method == "kmeans" else min(table, key=table.get)
    assert list(table) == list(range(2, 21))
    assert numbers["chosen_by"] == {"kmeans": "silhouette", "gmm": "bic"}[method]
    assert content["settings"]["clusters"] == best
    if method == "kmeans":
        assert numbers["silhouette"] == pytest.approx(table[best])


@torch.no_grad()
def test_augmentation_along_a_direction_of_this_model_alone(ok, typed, place):
    ok("directions", "vae.safetensors", "--count", 1, "--out", "d.safetensors")
    words = ["--method", "direction", "--directions", "d.safetensors", "--data", "small.npz"]
    ok("augment", "vae.safetensors", *words, "--per-class", 4, "--strength", 2)
    with np.load(place / "outputs/augment/augment.npz") as found:
        z, parents = torch.from_numpy(found["z"]), found["parents"]
    images, _ = open_data("small.npz", {}).split("train")[:]
    train = latentkit.load("vae.safetensors").encode(images)
    moved = z - train[parents[:, 0]]
    direction = load_directions("d.safetensors").vectors[0]
    far = moved @ direction
    assert torch.allclose(moved, far[:, None] * direction, atol=1e-4)
    assert far.abs().max() <= 2 * (train @ direction).std() + 1e-4
    done = typed("augment", "vae_b.safetensors", *words)
    assert done.code == 2
    assert "belong to the model with fingerprint" in done.err


def test_parents_are_training_images_of_the_class(ok, place):
    ok("augment", "ae.safetensors", "--data", "small.npz", "--per-class", 3, "--method", "slerp")
    with np.load(place / "outputs/augment/augment.npz") as found:
        y, parents = found["y"], found["parents"]
    _, labels = open_data("small.npz", {}).split("train")[:]
    assert parents.shape == (30, 2)
    assert (labels.numpy()[parents] == y[:, None]).all()


def test_mixup_has_soft_labels(ok, place):
    words = ["--data", "small.npz", "--per-class", 4, "--method", "mixup"]
    ok("augment", "ae.safetensors", *words)
    with np.load(place / "outputs/augment/augment.npz") as found:
        soft, y = found["soft"], found["y"]
        assert len(found["x"]) == 40
    assert soft.sum(1) == pytest.approx(1)
    assert (soft > 0).sum(1).max() == 2
    assert np.array_equal(soft.argmax(1), y)


def test_augmented_images_can_be_given_back_as_data(ok, place):
    ok("augment", "vae.safetensors", "--per-class", 5, "--out", "new.npz")
    ok("encode", "vae.safetensors", "--data", "new.npz", "--split", "train")
    with np.load(place / "outputs/encode/encode.npz") as found:
        assert len(found["z"]) == 40
        assert sorted({*found["y"].tolist()}) == [*range(10)]


@torch.no_grad()
def test_evaluation_beside_pca_of_equal_size(ok, place, digits):
    ok("evaluate", "vae.safetensors", "--limit", 50)
    numbers = result(place / "outputs/evaluate/result.json")["numbers"]
    model, (x, _) = latentkit.load("vae.safetensors"), random_part(digits.split("test"), 50)
    mse = functional.mse_loss(model.decode(model.encode(x)), x).item()
    assert numbers["mse"] == pytest.approx(mse, rel=1e-4)
    train = digits.split("train")[:][0].flatten(1).double()
    mean = train.mean(0)
    axes = torch.linalg.svd(train - mean, full_matrices=False).Vh[:6]
    flat = x.flatten(1).double() - mean
    error = (flat - flat @ axes.T @ axes).square().mean().item()
    assert numbers["mse_of_pca_of_equal_size"] == pytest.approx(error, rel=1e-3)
    mean, log_var = model.posterior(x)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean().item()
    assert numbers["kl_nats"] == pytest.approx(kl, rel=1e-4)
    assert numbers["negative_elbo_nats"] > kl
    assert numbers["active_units"] == int((mean.var(0) > 0.01).sum())
    assert 0 <= numbers["kmeans_acc"] <= 1


@torch.no_grad()
def test_evaluation_of_a_clustergan_and_a_dcgan(ok, place, digits):
    x, y = random_part(digits.split("test"), 60)
    ok("evaluate", "clustergan.safetensors", "--limit", 60)
    numbers = result(place / "outputs/evaluate/result.json")["numbers"]
    model = latentkit.load("clustergan.safetensors")
    own = model.cluster(x).numpy()
    assert numbers["encoder_nmi"] == pytest.approx(normalized_mutual_info_score(y, own))
    assert numbers["encoder_clusters_used"] == len(np.unique(own))
    assert numbers["logit_real"] == pytest.approx(model.discriminate(x).mean().item(), abs=1e-5)
    ok("evaluate", "dcgan.safetensors", "--limit", 60)
    numbers = result(place / "outputs/evaluate/result.json")["numbers"]
    assert {"logit_real", "logit_fake", "frechet_classifier64"} <= set(numbers)
    assert "mse" not in numbers


@pytest.mark.parametrize("kind", ["yaml", "folder", "npz"])
def test_data_of_every_kind(ok, place, digits, kind):
    x, y = digits.split("train")[:40]
    pixels = (x[:, 0] * 255).round().byte().numpy()
    if kind == "yaml":
        text = "data:\n  class_path: latentkit.data.digits.Digits\n  init_args: {size: 16}\n"
        (place / "d.yaml").write_text(text)
    elif kind == "npz":
        np.savez(place / "d.npz", x=pixels, y=y.numpy())
    else:
        for k, image in enumerate(pixels):
            folder = place / "d" / str(int(y[k]) % 2)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{k}.png")
    spec = "d" if kind == "folder" else f"d.{kind}"
    ok("encode", "ae.safetensors", "--data", spec, "--split", "train")
    with np.load(place / "outputs/encode/encode.npz") as found:
        assert found["z"].shape == ({"yaml": 1197, "folder": 32, "npz": 32}[kind], 6)
        assert found["y"].max() == {"yaml": 9, "folder": 1, "npz": 9}[kind]


def test_images_of_another_size_are_brought_to_the_models(ok, place):
    rng = np.random.default_rng(0)
    np.savez(place / "big.npz", x=rng.integers(0, 256, (20, 40, 30, 3), dtype=np.uint8))
    ok("reconstruct", "ae.safetensors", "--data", "big.npz", "--split", "train")
    assert result(place / "outputs/reconstruct/result.json")["numbers"]["images"] == 16
    assert latentkit.load("ae.safetensors").shape == SHAPE


OWN = """
from types import SimpleNamespace
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.BatchNorm1d(3))
def trains():
    return SimpleNamespace(encode=net.encode if hasattr(net, "encode") else (lambda x: net(x)))
def pair():
    return SimpleNamespace(encode=lambda x: (x.flatten(1), x.flatten(1)))
def decoder():
    return SimpleNamespace(decode=lambda z: (z @ torch.ones(4, 64)).reshape(-1, 1, 8, 8))
"""


def test_networks_behind_functions_are_put_into_evaluation_mode(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    x = torch.rand(6, 1, 8, 8)
    encode = latentkit.load("own_nets:trains").encode
    assert torch.allclose(encode(x)[:1], encode(x[:1]), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("encode own_nets2:pair --data x.npz", "to return a tensor of"),
        ("interpolate own_nets2:decoder --from z3.npy --to z3.npy", "refused a batch of shape"),
        ("interpolate own_nets2:decoder --from z3.npy --to z4.npy", "endpoints of one latent size"),
    ],
)
def test_a_mistake_of_an_own_model_is_one_sentence(words, fragment, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_nets2.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    np.save("z3.npy", np.ones(3, np.float32))
    np.save("z4.npy", np.ones(4, np.float32))
    np.savez("x.npz", x=np.zeros((20, 8, 8), np.uint8))
    assert main(words.split()) == 2
    assert fragment in capsys.readouterr().err


def test_what_the_same_verb_left_here_before_goes_with_its_result(ok, place):
    ends = ["--from", "seed:0", "--to", "seed:1", "--steps", "3"]
    ok("interpolate", "vae.safetensors", *ends, "--out", "walk.mp4")
    (place / "walk_mine.txt").touch()
    ok("interpolate", "vae.safetensors", *ends, "--out", "walk.svg")
    kept = {path.name for path in place.glob("walk*")}
    assert kept == {"walk.svg", "walk.gif", "walk.json", "walk_latents.npy", "walk_mine.txt"}
