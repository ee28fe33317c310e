"""Where records come from, one outside thing each."""
