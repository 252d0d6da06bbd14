"""The study of mmaccel and the tables of the paper; no part of the package."""
