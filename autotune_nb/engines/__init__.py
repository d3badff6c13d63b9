"""The engines this package knows, each a catalog of flags and a few facts. One engine a file."""
