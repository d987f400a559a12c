"""Cluster a data set in the latent space of a trained model.

python train/cluster.py checkpoints/clustergan_mnist.safetensors --method encoder
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["cluster", *sys.argv[1:]]))
