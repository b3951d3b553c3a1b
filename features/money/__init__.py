"""Amounts of any currency come in, amounts of the home's go out: the table of rates, and what is refused without one."""
