"""`-m extract`: hidden states, means or codes of audio on disk.

`plan.py` says what is asked for and needs no PyTorch; `utterances.py` finds the audio. `run.py` does it: `encoder.py` gives the arrays,
`folder.py` knows what is finished and what is not, `shards.py` writes and reads arrays.
"""
