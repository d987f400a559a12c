"""What every operation on a set of latents expects of it."""

from torch import Tensor


def check_points(z: Tensor, name: str = "z") -> None:
    """Raise ValueError unless `z` is (N, D) with N, D >= 1, floating and finite."""
    if z.ndim != 2 or z.numel() == 0:
        raise ValueError(
            f"expected {name} of shape (N, D), at least one latent, got {tuple(z.shape)}; "
            "flatten latents of other shapes with z.flatten(1)"
        )
    if not z.is_floating_point():
        raise ValueError(f"expected {name} of a floating dtype, got {z.dtype}")
    if not z.isfinite().all():
        bad = int((~z.isfinite()).any(1).sum())
        raise ValueError(f"expected finite {name}, got NaN or infinity in {bad} of {len(z)} rows")


def check_labels(labels: Tensor, n: int) -> None:
    """Raise ValueError unless `labels` is (n,) and of an integer dtype."""
    if labels.shape != (n,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"expected integer labels of shape ({n},), one for each latent, got "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
