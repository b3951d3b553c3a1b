"""Best channel: what each way of contact does for a customer, learned from logged contacts."""
