"""latentkit: train generative models, operate on their latent spaces, explain their directions.

Importing this package imports no torch; `latentkit.load` and `latentkit.save` do, when first used.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "save"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (module attributes have any type)
    """Give `load` and `save` on first use, so that the import itself stays light."""
    if name in {"load", "save"}:
        from latentkit import store

        return getattr(store, name)
    raise AttributeError(f"module 'latentkit' has no attribute {name!r}")
