"""Complete jobs that combine the lower layers: train, generate, evaluate, reproduce, quickstart."""
