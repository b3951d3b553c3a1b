"""Records of other tools come in by `POST /v1/events?format=…`; events go on, and what came of each record is answered."""
