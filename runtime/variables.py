"""How the value of an environment variable is read."""


def plain(value: str) -> str:
    """Without the blanks and the pair of quotes around it that some launchers leave in place."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    return value
