"""A reader of a Sillok registry in Python: what a client that is not ours needs, and how little that is.

Read the modules in this order: `did`, `multikey`, `canonical`, `verify`, `document`, then `rpc`, `http` and `status`.
"""
