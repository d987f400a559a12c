"""Quality measures as pure functions of tensors and label arrays."""
