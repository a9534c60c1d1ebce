"""Training stages, one file each; `spec.py` lists them."""
