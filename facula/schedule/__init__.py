"""From a tape to a plan: expansion, simplification, fusion, memory."""
