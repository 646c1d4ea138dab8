"""Image files, one module a format; whatever is read is checked."""
