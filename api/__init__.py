"""The HTTP edge. A request passes `connection_guard` and `exchange` (bytes and time), `middleware`
(log, route, web page, key and limit, body), then one handler of a module with a `router`: parse,
one store call, shape the answer. Each handler gives its whole path, so that metrics can label a
request by it."""
