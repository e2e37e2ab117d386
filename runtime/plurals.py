"""Numbers of things, as people are told them."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 row`, `1,000 rows`; `many` is for words whose plural is more than an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
