"""Tests of lhub; one file a room, and a few that walk through all of them."""
