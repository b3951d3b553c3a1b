"""Questions to an installation and its data: doctor, data quality, parity of batch and live, replay of identity."""
