"""Writes and reads rows of whatever schema its database has: the origin for rehearsals with one's own dump."""
