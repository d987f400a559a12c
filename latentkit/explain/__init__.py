"""What a latent direction affects, where a network reads it, and how far to trust the picture."""
