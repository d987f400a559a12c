"""Find the latents that decode to given images.

python train/invert.py checkpoints/dcgan_mnist.safetensors --images item:0 item:1
"""

import sys

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["invert", *sys.argv[1:]]))
