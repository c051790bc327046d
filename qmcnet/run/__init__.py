"""One plan in one directory, whatever happens."""
