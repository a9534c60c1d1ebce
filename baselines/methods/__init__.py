"""Methods, one file each: native models, sanity rows."""
