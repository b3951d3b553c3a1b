"""Who may be reached, how, when and with what chance: rules, policy, send time, hold-out; pure functions."""
