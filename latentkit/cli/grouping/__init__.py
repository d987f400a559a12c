"""Groups of images: cluster, augment."""
