"""The contract that edge and centre share.

In: nothing. Out: ids, topics, messages, telemetry batches and the model file.
Every arrow between two roles is defined here and in no other place.
Open `topics` first, then `messages` and `batch`; `model` runs the one-file model. `files`,
`broker` and `pages` are what every role needs besides: durable files, how a broker is reached, and
pages for a browser.
"""
