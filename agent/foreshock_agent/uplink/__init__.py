"""Store and forward: what is committed goes up, within its budget, until the lake has it.

Open `uplink` first; `outbox` reads what waits, `budget` and `pace` bound it.
"""
