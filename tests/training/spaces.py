"""A feature space that a user might bring."""


def pixels(x):
    """(N, C, H, W) -> (N, C*H*W)."""
    return x.flatten(1)
