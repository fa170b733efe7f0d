"""A disk that did not keep what was written: found, put aside, salvaged and told.

Open `opening` first (how a database is opened), then `beacon`, `rescue` and `mender`.
"""
