"""Train a model from a config: `python -m train fit --config configs/vae_mnist.yaml`."""

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
