"""Training library: loop, data windows, validation, logging, processes. It knows no model."""
