"""What survives a `kill -9`: one SQLite file with one writer, and the rules of its room.

In: what a pass of the pipeline made. Out: one commit, and the streams that wait to go up.
Open `store` first, then `journal` and `keeper` (a disk that refuses) and `worth` (a full one).
"""
