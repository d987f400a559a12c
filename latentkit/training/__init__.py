"""LightningModules: one file a training objective; the networks are injected."""
