"""Walk between two latents of a trained model, decoding on the way.

python train/interpolate.py checkpoints/vae_mnist.safetensors --from item:0 --to item:1
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["interpolate", *sys.argv[1:]]))
