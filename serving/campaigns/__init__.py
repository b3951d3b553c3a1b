"""Decisions and audiences for everybody at once: the whole customer table in, files for campaign tools out."""
