"""One file a reader: a source's files to rows of an id, an input and a label."""
