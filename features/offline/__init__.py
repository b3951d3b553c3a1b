"""The Parquet files of the offline store: timeline, states, what was known at a moment; embedded or on Spark."""
