"""Where the time of answers goes: stages that the metrics tell, and profiles of whole workers."""
