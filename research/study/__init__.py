"""A declared grid of small pretrainings, their records, and what they say."""
