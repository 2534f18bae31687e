"""Makes reference.json: each chunk's probability of speech in goforward_16k.wav, and its segments.

    pip install numpy onnxruntime && python make_reference.py

Written from the package's definition of a stream, with the network that lies here.
"""

import json
import wave
from pathlib import Path

import numpy as np
import onnxruntime

CHUNK, BEFORE, RATE = 512, 64, 16000
BEGINS, GOES_ON = 0.5, 0.35

HERE = Path(__file__).parent
network = onnxruntime.InferenceSession(
    str(HERE.parent / "model.onnx"), providers=["CPUExecutionProvider"]
)

with wave.open(str(HERE / "goforward_16k.wav")) as recording:
    assert (recording.getframerate(), recording.getnchannels()) == (RATE, 1)
    pcm = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")

samples = np.concatenate([np.zeros(BEFORE), pcm / 32768]).astype(np.float32)
state = np.zeros((2, 1, 128), np.float32)
probabilities = []
for start in range(0, len(pcm) - CHUNK + 1, CHUNK):
    window = samples[None, start : start + BEFORE + CHUNK]
    inputs = {"input": window, "state": state, "sr": np.array(RATE, np.int64)}
    probability, state = network.run(["output", "stateN"], inputs)
    probabilities.append(round(float(probability[0, 0]), 5))

segments = []
since = None
for chunk, probability in enumerate([*probabilities, 0.0]):
    time = round(chunk * CHUNK / RATE, 3)
    if since is None and probability >= BEGINS:
        since = time
    elif since is not None and probability < GOES_ON:
        segments.append({"start": since, "end": time})
        since = None

reference = {"segments": segments, "probabilities": probabilities}
(HERE / "reference.json").write_text(json.dumps(reference) + "\n")
