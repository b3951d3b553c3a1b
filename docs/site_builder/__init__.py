"""The repository's pages and the code's own words come in, the sources of the documentation site go out.

`gather` copies the pages and leads their links to where the pages lie on the site; `reference` writes what the code knows best:
commands, calls, keys, events, signals, settings, metrics. `make docs` runs both and builds the site of them.
"""
