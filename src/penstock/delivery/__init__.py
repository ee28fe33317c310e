"""Module Gamma: routes, delivers and confirms, rows and mark in one transaction."""
