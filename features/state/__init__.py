"""The fold: a customer's state and an event in, the next state out; its kernel, memory layout and encoding."""
