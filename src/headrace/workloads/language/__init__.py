"""A small language model on source code: corpus, model, training, generation."""
