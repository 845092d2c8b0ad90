"""Buffers, worker threads, linked machine code and its cache on disk."""
