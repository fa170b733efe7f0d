"""The judgement that edge and centre share: readings become windows, scores become alarms.

In: values (readings in arrival order, margins, the time as an argument). Out: values.
No socket, clock, file or database, so that a backtest says bit for bit what the gateway said.
Open `windows` first, then `alarms`.
"""
