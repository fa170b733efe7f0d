"""The simulated plant: machines that wear, sensors that lie, and the truth about both.

In: a seed, a number of machines and hours. Out: sensor messages over MQTT (`plant run`) or batch
files of past lives (`plant record`), with events.csv (the work orders) and truth.npz beside them.
Recorded telemetry of any origin becomes messages again (`plant replay`). A run repeats bit for bit;
`parameters` is frozen, and docs/plant.md says how hard the plant is. Open `machine` first, then
`sensor_faults`; `feed` publishes for `publisher` and `replay`, and `recorder` writes files.
"""
