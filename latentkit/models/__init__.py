"""Generative models: plain `nn.Module`s, one file a model, free of Lightning."""
