"""The languages that an insight may name."""

import re

UNKNOWN_LANGUAGE = "und"

ISO_639_1 = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu"
    " cv cy da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi"
    " ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks"
    " ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl"
    " nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl"
    " sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve"
    " vi vo wa wo xh yi yo za zh zu".split()
)


def read_language(written: object) -> str:
    """The ISO 639-1 code of what a model wrote, such as `en` or `pt-BR`; else `und`."""
    if not isinstance(written, str):
        return UNKNOWN_LANGUAGE
    code = re.split(r"[-_]", written.strip().casefold(), maxsplit=1)[0]
    return code if code in ISO_639_1 else UNKNOWN_LANGUAGE


def check_language(code: str) -> str:
    """The code itself. Raises ValueError where no insight can have it."""
    if read_language(code) != code:
        raise ValueError("must be an ISO 639-1 code, such as en, or und")
    return code
