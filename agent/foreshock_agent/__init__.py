"""The edge service: sensor messages in, alarms and scores out, nothing lost on the way up.

In: MQTT sensor topics (local), model files and acks (cloud). Out: alarms, scores, upload batches.
The flow is `pipeline`, and its rooms stand in its order: `mqtt` -> `sources`, `intake` -> `judging`
-> `store` -> `uplink`. Beside it are `update` (another model), `damage` (a disk that lies) and
`desk` (a person who asks). `service` composes one process of them from `settings`.
Open `pipeline` first, then `store`.
"""
