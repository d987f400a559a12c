"""Show what each latent direction of a trained model affects.

python train/explain.py checkpoints/vae_mnist.safetensors
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["explain", *sys.argv[1:]]))
