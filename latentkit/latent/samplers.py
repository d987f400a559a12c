"""Priors for models that came without a good one, fitted to latents of training images.

An autoencoder has no prior, and a VAE's latents rarely fill the one it was trained with. Each class
here is a `Prior`: hand its samples to `decode`. Fit on training latents only, so that held-out
images stay held out. `benchmarks/samplers.py` measures what each is worth, the second-stage VAE of
`two_stage.py` included.
"""

import math

import torch
from torch import Tensor

from latentkit.latent.points import check_points, flat_points, spread
from latentkit.priors import Empirical


class Mixture:
    """A mixture of K normal distributions.

    Args:
        weights: (K,), not negative, with sum 1.
        means: (K, *Z).
        covariances: (K, D, D), positive definite, over the D flattened coordinates of *Z.

    Raises:
        ValueError: if the shapes do not fit, or the numbers are no such mixture.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        check_points(means.flatten(1) if means.ndim > 1 else means, "means")
        count, dim = means.flatten(1).shape
        if weights.shape != (count,) or covariances.shape != (count, dim, dim):
            raise ValueError(
                f"expected weights ({count},) and covariances {(count, dim, dim)} for means "
                f"{tuple(means.shape)}, got {tuple(weights.shape)} and {tuple(covariances.shape)}"
            )
        if (weights < 0).any() or not math.isclose(float(weights.sum()), 1, abs_tol=1e-4):
            raise ValueError(f"expected weights of 0 or more with sum 1, got {weights.tolist()}")
        roots, failed = torch.linalg.cholesky_ex(covariances.double())
        if failed.any():
            raise ValueError("expected positive definite covariances, got one that is not")
        self.weights, self.means, self.covariances = weights, means, covariances
        self._roots = roots

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, *Z), in the means' dtype, on the generator's device (CPU without one)."""
        device = torch.device("cpu") if generator is None else generator.device
        # Not torch.multinomial: it refuses n = 0.
        uniform = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        steps = self.weights.double().cumsum(0).to(device)
        chosen = torch.bucketize(uniform * steps[-1], steps, right=True)
        means, roots = self.means.flatten(1).double().to(device), self._roots.to(device)
        noise = torch.randn(n, means.shape[1], generator=generator, device=device).double()
        z = means[chosen]
        for k in range(len(means)):  # not roots[chosen]: that would hold n matrices at once
            mine = chosen == k
            z[mine] += noise[mine] @ roots[k].T
        return z.to(self.means.dtype).reshape(n, *self.means.shape[1:])

    def log_prob(self, z: Tensor) -> Tensor:
        """(N, *Z) -> log density in nats (N,), on the device and in the dtype of `z`.

        Raises:
            ValueError: if the latents have another shape than the means.
        """
        if z.shape[1:] != self.means.shape[1:] or z.ndim != self.means.ndim:
            raise ValueError(
                f"expected latents (N, {', '.join(map(str, self.means.shape[1:]))}), got "
                f"{tuple(z.shape)}"
            )
        means, roots = self.means.flatten(1).to(z.device).double(), self._roots.to(z.device)
        offset = z.flatten(1).double()[None] - means[:, None]
        standard = torch.linalg.solve_triangular(roots, offset.mT, upper=False)
        volume = roots.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = 0.5 * means.shape[1] * math.log(2 * math.pi)
        each = -0.5 * standard.square().sum(1) - volume[:, None] - constant
        weighted = each + self.weights.to(z.device).double().log()[:, None]
        total: Tensor = weighted.logsumexp(0)
        return total.to(z.dtype)


def gmm(
    z: Tensor, components: int = 10, reg: float = 1e-4, generator: torch.Generator | None = None
) -> Mixture:
    """Fits a Gaussian mixture with full covariances by expectation maximisation.

    Dempster, Laird and Rubin, 1977; as a prior of autoencoders, Ghosh et al., "From Variational to
    Deterministic Autoencoders", ICLR 2020 (arXiv 1903.12436).

    Args:
        z: (N, *Z) latents of training images.
        components: K, from 1 (a single normal distribution) to N.
        reg: added to every variance, in units of the coordinate's variance, so that no component
            collapses to a point.
        generator: of the start, which k-means finds; None takes the global random state.

    Raises:
        ValueError: if z is not finite, has fewer than two latents, or components or reg are out of
            range.
    """
    points = flat_points(z)
    if not 1 <= components <= len(z) or not reg > 0:
        raise ValueError(
            f"expected 1 <= components <= {len(z)} for {len(z)} latents and reg above 0, got "
            f"{components} and {reg}"
        )
    centre, scale = points.mean(0), spread(points)
    from sklearn.mixture import GaussianMixture  # slow to import, and for this one alone

    model = GaussianMixture(components, reg_covar=reg, max_iter=500, random_state=_seed(generator))
    model.fit(((points - centre) / scale).numpy())
    weights, means, covariances = map(
        torch.as_tensor, (model.weights_, model.means_, model.covariances_)
    )
    means = (means * scale + centre).to(z.dtype).reshape(components, *z.shape[1:])
    return Mixture(weights, means, covariances * torch.outer(scale, scale))


class NoisyEmpirical(Empirical):
    """Draws a latent that was seen and adds normal noise: a kernel density estimate.

    The noise has the latents' covariance C times bandwidth^2, so samples have the covariance
    (1 + bandwidth^2) C. Silverman, "Density Estimation for Statistics and Data Analysis", 1986.

    With a small bandwidth the samples are near copies of training images: a low Frechet distance
    then says nothing about new images. With 0 it is the plain `Empirical`.

    Args:
        latents: (M, *Z) of training images, at least two.
        bandwidth: 0 or more, in units of C^(1/2); None takes Scott's rule, M^(-1 / (D + 4)).

    Raises:
        ValueError: if the latents are not finite or fewer than two, or the bandwidth is negative.
    """

    def __init__(self, latents: Tensor, bandwidth: float | None = None) -> None:
        points = flat_points(latents)
        super().__init__(latents)
        self.bandwidth = len(points) ** (-1 / (points.shape[1] + 4))
        if bandwidth is not None:
            self.bandwidth = bandwidth
        if not 0 <= self.bandwidth < math.inf:
            raise ValueError(f"expected a bandwidth of 0 or more, got {bandwidth}")
        offset = points - points.mean(0)
        covariance = offset.T @ offset / (len(points) - 1)
        values, vectors = torch.linalg.eigh(covariance)
        self._root = vectors * values.clamp(min=0).sqrt()  # unlike Cholesky's, of any rank

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, *Z)."""
        seen = super().sample(n, generator=generator)
        noise = torch.randn(n, len(self._root), generator=generator, device=seen.device).double()
        blur = self.bandwidth * noise @ self._root.T.to(seen.device)
        moved: Tensor = seen.double() + blur.reshape(seen.shape)
        return moved.to(seen.dtype)


def _seed(generator: torch.Generator | None) -> int:
    device = None if generator is None else generator.device
    return int(torch.randint(2**31 - 1, (), generator=generator, device=device))
