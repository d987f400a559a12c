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
    package = Path(latentkit.__file__).parent
    folders = [package / "configs", package.parent / "configs"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    names = sorted({p.name for folder in folders for p in folder.glob("*.yaml")})
    raise ValueError(f"no config at {name}, and none of that name is shipped: {', '.join(names)}")
