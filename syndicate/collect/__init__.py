"""Bytes of the world become articles: fetch, guard, parse, sanitise, decide. No SQL."""
