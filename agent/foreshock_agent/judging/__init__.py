"""From readings to windows, scores and alarms, as the shared rules have it.

In: columns of new readings. Out: scores, changed alarms with their reasons, and advice.
Open `machines` first, then `scoring` and `judge`.
"""
