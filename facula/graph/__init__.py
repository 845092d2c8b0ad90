"""Dtypes, geometries, the tape of recorded operators, and the primitive graph they expand to."""
