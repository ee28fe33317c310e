"""The hand-off protocol, without I/O: messages, events and `now` go in; messages and events come out.

No clock, socket, thread or random number in here. `penstock.links` drives these machines over a transport.
"""
