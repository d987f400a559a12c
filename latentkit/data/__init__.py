"""LightningDataModules: one file a source of images."""
