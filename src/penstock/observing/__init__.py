"""What can be seen of a run: facts as they happen, and what listens to them. The stages import only the facts."""
