"""Mix two latents of a trained model layer by layer.

python train/mix_styles.py checkpoints/dcgan_mnist.safetensors
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["mix", *sys.argv[1:]]))
