"""The edge service: sensor messages in, alarms and scores out, nothing lost on the way up.

In: MQTT sensor topics (local), model files and acks (cloud). Out: alarms, scores, upload batches.
The flow is `pipeline`: intake -> decode -> windows -> score -> judge -> COMMIT -> ack -> publish.
`service` composes one process of it from `settings`; `store` is what survives a `kill -9`.
Open `pipeline` first, then `store`.
"""
