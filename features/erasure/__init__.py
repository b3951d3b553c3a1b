"""The right to be forgotten, step by step: log, online store, files, models; a receipt comes out."""
