"""A picture of one machine's life: what it read, what a gateway said of it, and what was true.

In: a model file and a machine of the simulated plant. Out: a PNG or SVG, and the same as figures.
Open `judged` first: it plays the life through the gateway's own rules. `frame` chooses what to
show, `draw` draws it, `cli` is the command.
"""
