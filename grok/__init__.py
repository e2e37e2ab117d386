"""The parts of `grok_client.py`: the prompt, reading a response, the meaning of errors, prices."""
