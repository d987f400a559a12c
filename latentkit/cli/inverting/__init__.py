"""Given images, their latents, and moving them: invert, edit."""
