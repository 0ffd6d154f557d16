"""`make demo-region`: a fleet's conversations in one file, PostgreSQL and Valkey behind it, and what may happen.

Unlike the rest of `servers` this imports the library, as any program would that uses it.
"""
