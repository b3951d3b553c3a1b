"""Which products a customer is shown and why: ranking, eligibility, diversity, exploration, evidence."""
