import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from torch import nn

from latentkit.data.base import ImageData, Splits
from latentkit.data.images import TensorImages


class Numbers(ImageData):
    """Image i has the pixel i and the label i."""

    loads = 0

    def load(self):
        self.loads += 1
        rows = torch.arange(30)
        images = rows.to(torch.uint8).view(-1, 1, 1, 1)
        values = torch.stack([rows.float(), -rows.float()], dim=1)
        parts = [TensorImages(images[r], r, values[r]) for r in rows.split([20, 4, 6])]
        return Splits(*parts, class_names=("many",), attributes=("plus", "minus"))


class Recorder(pl.LightningModule):
    """Notes the labels it is trained on, epoch by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.epochs: list[list[int]] = []

    def on_train_epoch_start(self):
        self.epochs.append([])

    def training_step(self, batch):
        self.epochs[-1] += batch[1].tolist()
        return self.weight * batch[0].mean()

    def validation_step(self, batch):
        pass

    def predict_step(self, batch):
        return batch[1]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs=3):
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fitted(seed, noise):
    torch.manual_seed(noise)
    model = Recorder()
    trainer().fit(model, datamodule=Numbers(batch_size=6, seed=seed))
    return model.epochs


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lightning_sets_the_epoch_and_the_order_depends_on_the_seed_only():
    first = fitted(seed=0, noise=1)
    assert len(first) == 3
    assert all(len(set(epoch)) == 18 for epoch in first)  # 20 images, 3 whole batches of 6
    assert len({tuple(epoch) for epoch in first}) == 3
    assert fitted(seed=0, noise=2) == first
    assert fitted(seed=1, noise=1) != first


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lightning_predicts_all_test_images_in_order():
    predicted = trainer().predict(Recorder(), datamodule=Numbers(batch_size=4))
    assert torch.cat(predicted).tolist() == list(range(24, 30))


def test_the_loaders_read_their_parts():
    data = Numbers(batch_size=3)
    loaders = {"val": data.val_dataloader(), "test": data.test_dataloader()}
    for name, loader in loaders.items():
        x = torch.cat([x for x, _ in loader])
        y = torch.cat([y for _, y in loader])
        assert torch.equal(y, data.split(name).labels)
        assert torch.equal((x.flatten() * 255).round().long(), y)
    predicted = torch.cat([y for _, y in data.predict_dataloader()])
    assert torch.equal(predicted, data.split("test").labels)
    trained = torch.cat([y for _, y in data.train_dataloader()]).tolist()
    assert len(trained) == 18
    assert set(trained) <= set(range(20))
    assert trained != sorted(trained)


def test_the_data_are_read_once_and_when_needed():
    data = Numbers()
    assert data.loads == 0
    assert data.image_shape == (1, 1, 1)
    data.setup("fit")
    data.setup("test")
    data.setup()
    assert data.loads == 1


def test_attributes_follow_the_images():
    data = Numbers()
    assert data.attributes == ("plus", "minus")
    assert data.class_names == ("many",)
    values = data.attribute_values("val")
    assert torch.equal(values[:, 0].long(), data.split("val").labels)
    assert torch.equal(values[:, 1], -values[:, 0])


def test_unknown_parts_and_missing_attributes_are_refused():
    with pytest.raises(ValueError, match="expected split train, val, test, got 'valid'"):
        Numbers().split("valid")
    from latentkit.data.digits import Digits

    with pytest.raises(ValueError, match="expected data with attributes, got Digits without"):
        Digits().attribute_values("train")


CONCRETE = {
    "digits.Digits": {"size": 8},
    "mnist5k.MNIST5k": {"size": 32},
    "vision.Vision": {"dataset": "torchvision.datasets.KMNIST", "size": 32, "channels": 3},
    "folder.Images": {"root": "pictures", "attributes": "a.csv"},
    "arrays.Arrays": {"path": "x.npz", "labels": "y"},
    "shapes.Shapes": {"count": 5},
}


@pytest.mark.parametrize("name", CONCRETE)
def test_each_module_is_built_from_a_config_and_keeps_it_plain(name):
    parser = ArgumentParser()
    parser.add_subclass_arguments(pl.LightningDataModule, "data")
    arguments = {**CONCRETE[name], "batch_size": 7, "seed": 5}
    config = {"class_path": f"latentkit.data.{name}", "init_args": arguments}
    data = parser.instantiate(parser.parse_object({"data": config})).data
    assert f"{type(data).__module__}.{type(data).__name__}" == config["class_path"]
    assert {key: data.hparams[key] for key in arguments} == arguments
    assert all(isinstance(v, str | int | float | None) for v in data.hparams.values())
    assert (data.batch_size, data.seed) == (7, 5)
