"""Scoring protocols: every choice that a published number leaves open, as a typed field."""
