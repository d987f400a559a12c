"""Where the shipped configs lie: in the installed package, or beside it in a checkout."""

from pathlib import Path

import latentkit


def find_config(name: str) -> Path:
    """Gives the path of a shipped config.

    Args:
        name: its file name, e.g. "vae_mnist5k.yaml".

    Raises:
        ValueError: there is no such config; the names that exist are listed.
    """
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    names = ", ".join(config_names())
    raise ValueError(f"no config at {name}, and none of that name is shipped: {names}")


def config_names() -> list[str]:
    """File names of the shipped configs."""
    return sorted({path.name for folder in _folders() for path in folder.glob("*.yaml")})


def _folders() -> list[Path]:
    package = Path(latentkit.__file__).parent
    return [package / "configs", package.parent / "configs"]
