"""HTTP handlers: parse, one store call, shape the answer. Each gives its whole path, so that
metrics can label a request by it."""
