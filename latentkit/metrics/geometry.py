"""How far does a decoded path travel, in image space or in the eyes of a network?"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def step_lengths(images: Tensor) -> Tensor:
    """L2 distance between neighbours on each path.

    Args:
        images: (N, T, C, *S) decoded paths, T >= 2.

    Returns:
        (N, T - 1), in the images' unit; half precision is computed in single.

    Raises:
        ValueError: if there is no path dimension or it has fewer than two steps.
    """
    _check_paths(images)
    flat = images.flatten(2).to(torch.promote_types(images.dtype, torch.float32))
    lengths: Tensor = torch.linalg.vector_norm(flat[:, 1:] - flat[:, :-1], dim=2)
    return lengths


def path_length(images: Tensor) -> Tensor:
    """L2 length of each decoded path: the sum of its steps, never less than its chord.

    Args:
        images: (N, T, C, *S) decoded paths, T >= 2.

    Returns:
        (N,), in the images' unit.

    Raises:
        ValueError: if there is no path dimension or it has fewer than two steps.

    >>> path_length(torch.tensor([[[0.0], [3.0], [1.0]]]))
    tensor([5.])
    """
    return step_lengths(images).sum(1)


def energy(images: Tensor) -> Tensor:
    """Discrete energy of each decoded path: K times the sum of its K squared steps.

    Shao, Kumar and Fletcher, "The Riemannian Geometry of Deep Generative Models", 2017 (arXiv
    1711.08014). Never less than the squared length, and equal to it at constant speed.

    Args:
        images: (N, T, C, *S) decoded paths, T = K + 1 >= 2.

    Returns:
        (N,), in the square of the images' unit; carries gradients, which are finite where a path
        stands still.

    Raises:
        ValueError: if there is no path dimension or it has fewer than two steps.

    >>> energy(torch.tensor([[[0.0], [3.0], [1.0]]]))
    tensor([26.])
    """
    _check_paths(images)
    flat = images.flatten(2).to(torch.promote_types(images.dtype, torch.float32))
    return (images.shape[1] - 1) * flat.diff(dim=1).square().sum((1, 2))


def gain(images: Tensor, line: Tensor) -> Tensor:
    """How much energy each path saves against another between the same ends, the straight line.

    Args:
        images: (N, T, C, *S) decoded paths.
        line: (N, T, C, *S), the decoded lines, of as many steps.

    Returns:
        (N,): 1 - E / E_line, 0 for paths of the same energy; 0 where the line has none.

    Raises:
        ValueError: if the two differ in shape, or as `energy` does.
    """
    if images.shape != line.shape:
        raise ValueError(
            f"expected paths of one shape, got {tuple(images.shape)} and {tuple(line.shape)}"
        )
    ours, theirs = energy(images), energy(line)
    return torch.where(theirs > 0, 1 - ours / torch.where(theirs > 0, theirs, 1), 0)


def arc(a: Tensor, b: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Where a point is on the arcs from a to b, and how fast it moves there.

    The arc has constant angular speed (White, "Sampling Generative Networks", 2016, arXiv
    1609.04468); it is the straight line where the ends have almost one direction or almost opposite
    ones.

    Args:
        a: (N, D) starts.
        b: (N, D) ends.
        t: (N,) in [0, 1].

    Returns:
        The points (N, D) and their derivatives by t (N, D).

    Raises:
        ValueError: if the ends are not two batches of one shape with one t a pair.
    """
    if a.ndim != 2 or a.shape != b.shape or t.shape != a.shape[:1]:
        raise ValueError(
            f"expected ends (N, D) of one shape and t (N,), got {tuple(a.shape)}, "
            f"{tuple(b.shape)} and {tuple(t.shape)}"
        )
    t = t[:, None]
    angle = torch.nn.functional.cosine_similarity(a, b)[:, None].clamp(-1, 1).acos()
    sine, bent = angle.sin(), angle.sin() > 1e-3
    safe = torch.where(bent, sine, 1)
    on = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / safe
    along = angle * ((t * angle).cos() * b - ((1 - t) * angle).cos() * a) / safe
    return torch.where(bent, on, a + t * (b - a)), torch.where(bent, along, b - a)


def perceptual_path_length(
    perceive: Callable[[Tensor], Tensor], z: Tensor, dz: Tensor, epsilon: float | None = None
) -> Tensor:
    """Squared speed in a feature space of images whose latents move.

    Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative Adversarial
    Networks", CVPR 2019 (arXiv 1812.04948), section 4.1: the mean over random places of random
    paths of d(G(z), G(z + epsilon dz))^2 / epsilon^2. Here d is the Euclidean distance of the
    features f, and by default epsilon goes to 0, which leaves |J dz|^2 with J the Jacobian of
    f(G(z)): exact, in one forward pass.

    Args:
        perceive: latents (N, *Z) -> features (N, ...) of the images that they give, f(G(z)), each
            sample by itself.
        z: (N, *Z) places on paths.
        dz: (N, *Z) derivatives of the paths by their parameter, 0 at one end and 1 at the other.
        epsilon: a step above 0 instead of the limit, for features that cannot be differentiated.

    Returns:
        (N,), in the square of the features' unit; its mean is the path length.

    Raises:
        ValueError: if z and dz differ in shape or are not finite, epsilon is not above 0, or no
            derivative passes through `perceive` (a part of it leaves torch or is detached).
    """
    if z.shape != dz.shape or z.ndim < 2:
        raise ValueError(
            f"expected z and dz (N, *Z) of one shape, got {tuple(z.shape)} and {tuple(dz.shape)}"
        )
    if not (z.isfinite().all() and dz.isfinite().all()):
        raise ValueError("expected finite z and dz, got NaN or infinity")
    if epsilon is None:
        change = _derivative(perceive, z, dz)
    elif epsilon > 0:
        change = (perceive(z + epsilon * dz) - perceive(z)) / epsilon
    else:
        raise ValueError(f"expected epsilon above 0, got {epsilon}")
    return change.flatten(1).square().sum(1)


def _check_paths(images: Tensor) -> None:
    if images.ndim < 3 or images.shape[1] < 2:
        raise ValueError(
            f"expected paths (N, T, C, *S) of at least 2 steps, got {tuple(images.shape)}"
        )


def _derivative(perceive: Callable[[Tensor], Tensor], z: Tensor, dz: Tensor) -> Tensor:
    try:
        with warnings.catch_warnings():
            # torch's first forward-mode call warns of its own torch.jit: nobody can act on it.
            warnings.filterwarnings("ignore", ".*torch.jit.*deprecated.*", FutureWarning)
            change: Tensor = torch.func.jvp(perceive, (z,), (dz,), strict=True)[1]
    except RuntimeError as error:
        raise ValueError(
            f"no derivative passes through the features ({error}): give epsilon"
        ) from error
    return change
