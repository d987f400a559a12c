"""The only way into augmentation: latents that are known to be of the training split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.latent.points import check_labels, check_points, row_keys


class TrainLatents:
    """Labelled latents of a training split, which share nothing with what is held out.

    Every augmentation takes this and nothing else, so a validation or test latent cannot get into
    what a classifier is trained on: who builds one must say which rows are held out, and is refused
    where the two meet. It keeps copies: what the caller does to his tensors afterwards is no
    matter.

    Args:
        z: (N, *Z) latents.
        labels: (N,) integers.
        rows: (N,) the number of each in the data set, all different.
        held_out: (M,) the rows of the validation and test splits, M >= 1.
        held_out_z: (M, *Z) their latents, which also shows copies of a held-out image under another
            number; None checks the numbers alone.

    Attributes:
        z, labels, rows: as given.

    Raises:
        ValueError: if the shapes do not fit, a latent is not finite, nothing is held out, a row is
            given twice, is negative, or is held out, or a latent equals a held-out one.
    """

    def __init__(
        self,
        z: Tensor,
        labels: Tensor,
        rows: Tensor,
        held_out: Tensor,
        held_out_z: Tensor | None = None,
    ) -> None:
        check_points(z.flatten(1) if z.ndim > 2 else z)
        check_labels(labels, len(z))
        _check_rows(rows, len(z), held_out)
        self.z, self.labels = z.detach().clone(), labels.to(z.device, copy=True)
        self.rows = rows.to(torch.device("cpu"), torch.int64, copy=True)
        if held_out_z is not None:
            _check_copies(self.z, self.rows, held_out_z)

    @classmethod
    def of_splits(cls, z: Tensor, labels: Tensor, train: Tensor) -> "TrainLatents":
        """From the latents (N, *Z) and labels (N,) of a whole data set: all but `train` is out.

        Args:
            z: (N, *Z) latents of every split.
            labels: (N,) integers.
            train: (M,) rows of the training split.

        Raises:
            ValueError: as in the class, or if a row is not in [0, N), or a training latent equals
                one of another split.
        """
        rows = train.cpu()
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(z):
            raise ValueError(f"expected rows in [0, {len(z)}), got some up to {int(rows.max())}")
        inside = torch.zeros(len(z), dtype=torch.bool)
        inside[rows] = True
        rest = (~inside).nonzero()[:, 0]
        here, there = rows.to(z.device), rest.to(z.device)
        return cls(z[here], labels[rows.to(labels.device)], rows, rest, z[there])

    def __len__(self) -> int:
        return len(self.z)

    @property
    def flat(self) -> Tensor:
        """(N, D)."""
        return self.z.flatten(1)

    def members(self, least: int = 1) -> list[tuple[int, Tensor]]:
        """Each class, ascending, with the places (n,) of its members in `z`, at least so many.

        Args:
            least: latents that a class must have.

        Raises:
            ValueError: if a class has fewer.
        """
        names, sizes = torch.unique(self.labels, return_counts=True)
        few = names[sizes < least].tolist()
        if few:
            raise ValueError(
                f"expected at least {least} latents of every class, got fewer of class {few}; add "
                "some or leave the class out"
            )
        return [(int(name), (self.labels == name).nonzero()[:, 0]) for name in names]


@dataclass(frozen=True)
class Augmented:
    """New labelled latents, and what each was made from.

    Attributes:
        z: (M, *Z), in the dtype and on the device of the training latents.
        labels: (M,) integers, or (M, K) shares of the classes that sum to 1 (mixup).
        parents: for each of the M the rows of the data set that it was made from, (P,) int64; all
            of them are rows of the `TrainLatents`.
    """

    z: Tensor
    labels: Tensor
    parents: tuple[Tensor, ...]


def each_class(
    train: TrainLatents,
    per_class: int,
    least: int,
    make: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Augmented:
    """Augments class by class, ascending.

    Args:
        train: the training latents.
        per_class: new latents of each class.
        least: members that a class must have.
        make: the members (n, D) of a class -> new ones (per_class, D) and the places among the
            members that each was made from: (per_class, P), or (P,) if they are the same for all.

    Raises:
        TypeError: if `train` is anything but `TrainLatents`.
        ValueError: if per_class < 1 or a class has too few members.
    """
    check_train(train)
    if per_class < 1:
        raise ValueError(f"expected per_class >= 1, got {per_class}")
    new: list[Tensor] = []
    parents: list[Tensor] = []
    groups = train.members(least)
    for _, places in groups:
        made, of = make(train.flat[places])
        new.append(made)
        rows = train.rows[places.cpu()][of.cpu()]
        parents += rows.unbind(0) if rows.ndim == 2 else [rows] * per_class
    names = torch.tensor([name for name, _ in groups]).to(train.labels)
    z = torch.cat(new).reshape(-1, *train.z.shape[1:])
    return Augmented(z, names.repeat_interleave(per_class), tuple(parents))


def check_train(train: TrainLatents) -> None:
    """Raise TypeError for anything but `TrainLatents`: bare latents may be of any split."""
    if not isinstance(train, TrainLatents):
        raise TypeError(
            f"expected TrainLatents, which knows what is held out, got {type(train).__name__}: "
            "build one with TrainLatents(z, labels, rows, held_out)"
        )


def _check_rows(rows: Tensor, n: int, held_out: Tensor) -> None:
    for name, given in (("rows", rows), ("held_out", held_out)):
        wrong = given.ndim != 1 or given.is_floating_point() or given.is_complex()
        if wrong or given.dtype == torch.bool or (given.numel() and int(given.min()) < 0):
            raise ValueError(
                f"expected {name} to be row numbers (integers of 0 or more, one dimension), got "
                f"{given.dtype} of shape {tuple(given.shape)}"
            )
    if not len(held_out):
        raise ValueError(
            "expected the rows that are held out, got none: name those of the validation and test "
            "splits, or nothing shows that they are not augmented"
        )
    if len(rows) != n:
        raise ValueError(f"expected {n} rows, one for each latent, got {len(rows)}")
    if len(torch.unique(rows)) < n:
        raise ValueError("expected different rows, got some twice")
    shared = rows.cpu()[torch.isin(rows.cpu(), held_out.cpu())]
    if len(shared):
        raise ValueError(
            "expected training rows alone, got held-out ones, which must not be augmented: "
            f"{len(shared)}, the first {shared[:5].tolist()}"
        )


def _check_copies(z: Tensor, rows: Tensor, held_out: Tensor) -> None:
    if held_out.shape[1:] != z.shape[1:]:
        raise ValueError(
            f"expected held-out latents (M, *{tuple(z.shape[1:])}), got {tuple(held_out.shape)}"
        )
    seen = set(row_keys(held_out))
    equal = [row for key, row in zip(row_keys(z), rows.tolist(), strict=True) if key in seen]
    if equal:
        raise ValueError(
            f"expected training latents alone, got {len(equal)} that equal a held-out one, the "
            f"first rows {equal[:5]}: copies of an image in two splits?"
        )
