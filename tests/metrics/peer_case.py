"""Inputs that latentkit and its peers were both run on.

NumPy's `RandomState` is frozen: it gives the same numbers in every release.
"""

import numpy as np

SIZES = (3, 4, 5)
"""Values that each of three independent factors takes."""
MIX = np.array([[1.0, 0.0, 0.2, 0.0], [0.0, 0.6, 0.0, 0.5], [0.0, 0.1, 1.0, 0.5]])
"""Factors to the means of four latents; factor 1 is spread over two."""


def case():
    """Latents (400, 4) and factors (400, 3) int64."""
    random = np.random.RandomState(0)
    factors = np.stack([random.randint(0, size, 400) for size in SIZES], axis=1)
    noise = random.randn(400, 4)
    return (factors @ MIX + 0.3 * noise).round(4), factors
