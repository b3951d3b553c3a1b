"""From a customer's state now to an answer: scores, rules, one decision, over HTTP."""
