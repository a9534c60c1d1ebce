"""Training stages, one file per stage; `spec.py` lists them."""
