"""The processes of a service: who ends with whom, which of them run, and what a start finds left over."""
