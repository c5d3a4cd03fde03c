"""The use cases, one function each: load, decide, act, record."""
