"""The tables of the paper, and what fills them."""
