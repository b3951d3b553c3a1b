"""Published protocols on files of one's own: data and protocol in, a report with intervals and baselines out."""
