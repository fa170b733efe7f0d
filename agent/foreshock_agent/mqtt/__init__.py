"""An MQTT 3.1.1 client for the sensor side, built for many small messages.

paho-mqtt takes each packet by three reads and a select. This takes what lies in the socket at once,
parses it in bulk, hands it over in bulk and acknowledges in bulk. Nothing here knows what a message
means. Open `direct.py` for the connection's life; `channel.py` moves bytes, `packets.py` reads and
writes them.
"""
