"""From a portrait and speech to a talking clip with trained models."""
