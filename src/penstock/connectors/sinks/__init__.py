"""Where records go, one outside thing each."""
