"""Who says what of a conversation, and what comes of it. Pure."""

from enum import StrEnum


class LastWord(StrEnum):
    PERSON = "person"
    RULE = "rule"
    MODEL = "model"
