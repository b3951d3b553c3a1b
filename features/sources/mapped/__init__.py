"""The steps from raw rows to events under a mapping: paths into nested values, words, times, money, ids."""
