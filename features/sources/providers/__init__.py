"""Exports of shops and of other tools come in; batches of events go out: a module a source."""
