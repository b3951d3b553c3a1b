"""What an experiment's variants brought: the log's flagged decisions in, differences that may be looked at every day out."""
