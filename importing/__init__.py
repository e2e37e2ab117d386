"""What `ingest_data.py` is made of: any file in, conversations over HTTP out.

`pipeline` leads a row through it; ARCHITECTURE.md has the way from module to module. Nothing in
here imports the store or the service.
"""
