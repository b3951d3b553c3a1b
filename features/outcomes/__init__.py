"""Logged decisions and what came of them: which came about, and what each was worth. Nothing that answers looks here."""
