"""Moving between latents: interpolate, mix."""
