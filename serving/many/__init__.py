"""Many customers asked about at once, over HTTP: answers of single calls, found out together."""
