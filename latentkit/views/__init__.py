"""Pictures: matplotlib figures, TensorBoard callbacks, the one-file report."""
