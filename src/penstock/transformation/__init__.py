"""Module Beta: maps, derives, enriches and scores, one compiled query for whatever has arrived."""
