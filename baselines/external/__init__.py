"""Methods that run in their official repository with its own interpreter, described by a YAML file.

`adapter` reads the files, `stage` prepares one item, `process` runs the command, `method` combines them. None of these
repositories is imported, downloaded or bundled; the user says where they are installed (see `adapter`).
"""
