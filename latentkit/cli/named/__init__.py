"""What the user names on the command line, turned into models, data, latents and images."""
