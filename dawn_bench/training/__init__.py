"""Training of the bundled models on prepared caches."""
