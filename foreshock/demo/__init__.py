"""`foreshock demo`: the whole loop in one terminal, with real processes and an honest summary.

In: a number of seconds. Out: a story on the screen, a summary that is recomputed from the files
that each role left behind, and an exit code that is 0 only when it adds up.
Open `story` for the timeline, `stage` for who is started, `summary` for what is proved.
"""
