"""From the broker's message to readings that may be stored.

In: deliveries of the local link. Out: columns of new readings, and what was refused and why.
Open `reception` first; `inbox` is the queue in front of it, `../sources/` the shapes of payloads.
"""
