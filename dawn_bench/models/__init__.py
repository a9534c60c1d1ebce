"""The bundled models; each folder is one paper."""
