"""Tools around modules."""
