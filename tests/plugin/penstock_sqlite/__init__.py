"""SQLite tables as sources and destinations of Penstock."""
