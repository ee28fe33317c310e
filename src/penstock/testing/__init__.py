"""For tests of pipelines: faults at the moments that matter."""
