"""The runner: from a Hydra command line to images, records and an index."""
