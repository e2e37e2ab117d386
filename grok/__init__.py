"""The parts of `grok_client.py`: what Grok is asked, what its errors mean, what it costs."""
