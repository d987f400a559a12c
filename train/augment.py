"""Make new labelled images in the latent space of a trained model.

python train/augment.py checkpoints/vae_mnist.safetensors
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["augment", *sys.argv[1:]]))
