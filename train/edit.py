"""Move images along a direction that `latentkit directions` found.

python train/edit.py checkpoints/vae_emoji.safetensors --directions directions.safetensors
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["edit", *sys.argv[1:]]))
