"""The only SQL of ``syndicate``, a module for each noun. Every function takes a Connection and neither
commits nor opens one; ``engine`` opens them. Decides nothing.
"""
