import numpy as np
import pytest
import torch
from PIL import Image

from latentkit.data.files import FileImages
from latentkit.data.folder import Images
from latentkit.data.images import TensorImages

PARTS = ("train", "val", "test")


def fill(folder, count, start=0):
    """Grey pictures whose value is their number: start, start + 1, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in range(start, start + count):
        Image.fromarray(np.full((6, 6), value, dtype=np.uint8)).save(folder / f"{value:03}.png")


def values(images):
    return (images[:][0][:, 0, 0, 0] * 255).round().int().tolist()


@pytest.fixture
def pets(tmp_path):
    fill(tmp_path / "dog", 40)
    fill(tmp_path / "cat", 60, start=100)
    return tmp_path


def test_sub_folders_are_classes_and_parts_keep_the_proportions(pets, capsys):
    data = Images(str(pets), size=6)
    data.setup()
    assert capsys.readouterr().out == ""
    data.setup("fit")
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (3, 6, 6)
    assert [len(data.split(part)) for part in PARTS] == [80, 10, 10]
    for part in PARTS:
        images = data.split(part)
        assert [value < 100 for value in values(images)] == images.labels.bool().tolist()
        kinds = [data.class_names[label] for label in images.labels]
        named = [f"{kind}/{value:03}" for kind, value in zip(kinds, values(images), strict=True)]
        assert data.item_names(part) == tuple(named)
    together = [value for part in PARTS for value in values(data.split(part))]
    assert sorted(together) == [*range(40), *range(100, 160)]
    assert capsys.readouterr().out.splitlines() == [
        f"{pets} train: 80 images: cat 48, dog 32",
        f"{pets} val: 10 images: cat 6, dog 4",
        f"{pets} test: 10 images: cat 6, dog 4",
    ]


def test_images_without_sub_folders_are_unlabelled_and_it_says_so(tmp_path, capsys):
    fill(tmp_path, 20)
    data = Images(str(tmp_path), size=6, channels=1)
    assert data.class_names == ()
    assert data.split("train").labels.tolist() == [-1] * 16
    assert data.image_shape == (1, 6, 6)
    data.setup("fit")
    assert "train: 16 images, unlabelled" in capsys.readouterr().out


def test_many_classes_are_summed_up(tmp_path, capsys):
    for index in range(13):
        fill(tmp_path / f"class{index}", 10 + 10 * (index % 2), start=10 * index)
    Images(str(tmp_path), size=6).setup("fit")
    assert "train: 152 images of 13 classes, 8 to 16 each" in capsys.readouterr().out


def test_folders_train_val_and_test_are_the_parts(tmp_path):
    for start, part in enumerate(PARTS):
        fill(tmp_path / part / "a", 3, start=20 * start)
        fill(tmp_path / part / "b", 2, start=20 * start + 10)
    data = Images(str(tmp_path), size=6)
    assert data.class_names == ("a", "b")
    for start, part in enumerate(PARTS):
        assert values(data.split(part)) == [20 * start + i for i in (0, 1, 2, 10, 11)]
        assert data.split(part).labels.tolist() == [0, 0, 0, 1, 1]


def test_a_missing_part_is_cut_from_train(tmp_path):
    fill(tmp_path / "train", 20)
    fill(tmp_path / "test", 5, start=100)
    data = Images(str(tmp_path), size=6)
    assert values(data.split("test")) == [*range(100, 105)]
    train, val = values(data.split("train")), values(data.split("val"))
    assert sorted(train + val) == [*range(20)]
    assert len(val) == 2


def test_a_class_called_train_is_a_class(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "plane", 10, start=50)
    assert Images(str(tmp_path), size=6).class_names == ("plane", "train")


def test_beyond_the_memory_limit_files_are_decoded_by_batch(pets):
    held, lazy = Images(str(pets), size=6), Images(str(pets), size=6, memory_limit_mb=0)
    assert isinstance(held.split("train"), TensorImages)
    assert isinstance(lazy.split("train"), FileImages)
    for part in PARTS:
        assert torch.equal(held.split(part)[:][0], lazy.split(part)[:][0])
        assert torch.equal(held.split(part).labels, lazy.split(part).labels)


def test_hidden_and_other_files_are_ignored(tmp_path):
    fill(tmp_path / "a", 10)
    fill(tmp_path / "b" / "deep", 10, start=50)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / ".hidden.png").write_text("x")
    (tmp_path / ".cache").mkdir()
    data = Images(str(tmp_path), size=6)
    assert data.class_names == ("a", "b")
    assert sum(len(data.split(part)) for part in PARTS) == 20


def csv(folder, lines):
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_attributes_and_labels_come_from_the_csv(tmp_path):
    fill(tmp_path / "pictures", 30)
    lines = [f"{i:03}.png,{i / 2},{'odd' if i % 2 else 'even'},{-i}" for i in range(30)]
    table = csv(tmp_path, ["file,half,label,minus", *reversed(lines)])
    data = Images(str(tmp_path / "pictures"), size=6, attributes=table)
    assert data.attributes == ("half", "minus")
    assert data.class_names == ("even", "odd")
    for part in PARTS:
        images = torch.tensor(values(data.split(part))).float()
        assert torch.equal(data.attribute_values(part), torch.stack([images / 2, -images], 1))
        assert torch.equal(data.split(part).labels, (images % 2).long())


def test_the_csv_may_name_files_by_their_path(pets):
    names = [f"{p.parent.name}/{p.name}" for p in sorted(pets.glob("*/*.png"))]
    table = csv(pets, ["file,age", *(f"{name},{int(name[4:7])}" for name in names)])
    data = Images(str(pets), size=6, attributes=table)
    assert data.class_names == ("cat", "dog")
    assert data.attribute_values("test").flatten().int().tolist() == values(data.split("test"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["file,a", "0.png,1", "gone.png,1"],
            r"an image in .* for each line of .*, got 0\.png, gone",
        ),
        (["file,a", *(f"{i:03}.png,1" for i in range(9))], r"one line in .* for 009\.png$"),
        (["file,a", *(f"{i:03}.png,1" for i in (*range(10), 3))], r"one line in .* for 003\.png$"),
        (["file,a", *(f"{i:03}.png,red" for i in range(10))], r"number in column 'a' .* got 'red'"),
        (["file,a", *(f"{i:03}.png," for i in range(10))], r"number in column 'a' .* got ''"),
        (["file,a", *(f"{i:03}.png,nan" for i in range(10))], "got 'nan'"),
        (["file,a", "000.png"], r"expected 2 columns in .*, got 1"),
        (["file", "000.png"], "a header of two or more different columns"),
        (["file,a,a", "000.png,1,2"], "a header of two or more different columns"),
        ([""], "got an empty file"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path, lines, message):
    fill(tmp_path / "pictures", 10)
    data = Images(str(tmp_path / "pictures"), size=6, attributes=csv(tmp_path, lines))
    with pytest.raises(ValueError, match=message):
        data.setup()


def test_a_missing_csv_is_refused(tmp_path):
    fill(tmp_path, 10)
    with pytest.raises(ValueError, match=r"got no\.csv, which does not exist"):
        Images(str(tmp_path), attributes="no.csv").setup()


def test_two_sources_of_classes_are_refused(pets):
    names = [p.name for p in sorted(pets.glob("*/*.png"))]
    table = csv(pets, ["file,label", *(f"{name},x" for name in names)])
    with pytest.raises(ValueError, match="from sub-folders or from a column, got both"):
        Images(str(pets), size=6, attributes=table).setup()


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got .*gone, which is not a folder"):
        Images(str(tmp_path / "gone")).setup()
    with pytest.raises(ValueError, match=r"expected images \(bmp, gif, .*\) in .*, got none"):
        Images(str(tmp_path)).setup()
    fill(tmp_path / "a", 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"in every class folder, got none in .*empty"):
        Images(str(tmp_path)).setup()
    (tmp_path / "empty").rmdir()
    fill(tmp_path, 1)
    with pytest.raises(ValueError, match=r"got both \(000\.png and a/000\.png\)"):
        Images(str(tmp_path)).setup()


def test_parts_must_agree_on_having_classes(tmp_path):
    fill(tmp_path / "train" / "a", 5)
    fill(tmp_path / "val", 5)
    with pytest.raises(ValueError, match=r"a class for all images of .* or for none"):
        Images(str(tmp_path)).setup()


def test_too_few_images_are_refused(tmp_path):
    fill(tmp_path, 2)
    with pytest.raises(ValueError, match=r"leave some of 2 images to train on, got 1 \+ 1"):
        Images(str(tmp_path)).setup()


def test_a_corrupt_image_is_named(tmp_path):
    fill(tmp_path, 10)
    (tmp_path / "005.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"a readable image, got .*005\.png"):
        Images(str(tmp_path)).setup()


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="channels 1 or 3 and size of 1 or more, got 2 and 64"):
        Images("anywhere", channels=2)
