"""Latent operations: tensors in, tensors out, over any `encode` and `decode`."""
