"""The data of `injection.py`: which words and signs a text for the model has, and its disguises.

The rules read case-folded text. Most texts hold none of the words that a rule starts from, so what
is looked for after such a word costs nothing until the word is there.
"""

_FEW = r"(?:[^\w.!?\n]++\w++){0,6}?[^\w.!?\n]++"  # up to six words of the same sentence lie between
_QUOTE = r"[\"'“”‘’«»「`]"
_NUMBER = r"[-+]?[01]\.\d"
_MOOD = rf"(?:positive|negative|neutral|{_NUMBER})"
_TEXTS = (
    r"(?:tweet|message|text|conversation|id|result|entr(?:y|ie)|item|input|post|review|comment"
    r"|customer|one)s?\b"
)
_OTHERS = (
    rf"(?:(?:other|next|following|remaining|previous|preceding|above|below|neighbou?ring"
    rf"|rest of the|all(?: of)?(?: the| these| those)?|every|each) {_TEXTS}"
    rf"|{_TEXTS} (?:above|below|before|after|that follows?)\b)"
)
_MODEL = (
    r"(?:ai|llm|grok|chat ?gpt|gpt|(?:language )?model|assistant|analy[sz]er|analyst|classifier"
    r"|moderator|annotator)s?\b"
)
_ORDERS = (
    r"(?:instruct\w+|prompts?|directi(?:on|ve)s?|guidelines?|rules|orders|commands?|programming"
    r"|training|constraints|context|the (?:text )?(?:above|system)"
    r"|(?:all|everything|anything|any|what|text) (?:of )?(?:the )?(?:above|before|prior|previous"
    r"|else|that came)|you (?:were|have been|'ve been) told)\b"
)

AFTER_A_WORD = {
    "override": (
        ("ignore disregard forget override bypass", _FEW + _ORDERS),
        ("pay", rf" no attention to{_FEW}{_ORDERS}"),
        (
            "not t stop never",
            r"(?:(?<=do not)|(?<=don't)|(?<=stop)|(?<=never))"
            rf" (?:follow|obey|listen|comply|adhere)(?:ing)?(?: to| with)?{_FEW}{_ORDERS}",
        ),
        (  # Spanish, Portuguese, Italian
            "ignora ignorar ignore ignoren ignorad ignorare ignorate olvida olvide olviden descarta"
            " descarte desconsidere desconsidera esqueca esqueça esquece dimentica dimenticare"
            " dimenticate trascura caso",
            rf"{_FEW}(?:instru[cçz]\w+|istruzion\w+|indica[cz]i\w+|[oó]rdenes|ordens|ordini|reglas"
            r"|regras|regole|comand\w+|lo anterior|o acima|quanto sopra)\b",
        ),
        (  # French
            "ignore ignorez ignorer oublie oubliez oublier abstraction compte",
            rf"{_FEW}(?:instructions?|consignes?|directives?|ordres|r[eè]gles"
            r"|ce qui pr[eé]c[eè]de)\b",
        ),
        (  # German, Dutch
            "ignoriere ignorier ignorieren ignoriert vergiss vergesst vergessen missachte"
            " missachten beachte beachten negeer vergeet",
            rf"{_FEW}(?:anweisung|instru[kc]ti|vorgabe|befehl|anordnung|(?:obig|bisherig|vorherig)e"
            r"|opdracht|aanwijzing)",
        ),
        ("zignoruj zapomnij", rf"{_FEW}(?:instrukcj|polece)"),  # Polish
        ("begin start end", r" (?:of )?(?:the )?(?:new )?(?:instructions|directives)\b"),
    ),
    "addresses_the_model": (
        (
            "not t stop",
            r" (?:analy[sz]|classify)(?:e|ing)?\b",
        ),
        (
            "ai grok gpt chatgpt model assistant",
            r" (?:must|should|shall|has to) (?:\w+ )?(?:answer|respond|reply|return|output|say)\b",
        ),
        (
            "you",
            rf"(?: are|'re) (?:now |no longer )?(?:(?:going|about) to (?:act|pretend|play|simulate"
            rf"|immerse)\b|(?:an? )?(?:unrestricted |uncensored |jailbroken |\w+ )?{_MODEL})",
        ),
        (
            "you",
            r" are now (?:an?|called|named|acting|playing|free (?:of|from)|dan)\b"
            r"|(?: will| must| shall| should| have to| need to)(?: now)?"
            r" (?:act|pretend|behave|role-?play) (?:as|like|to be)\b"
            r"| are (?:now )?in \w+ mode\b",
        ),
        (
            "from",
            r" now on,? (?:you (?:are|will|must|shall|should|have to)|every|always"
            r"|all (?:tweets|messages|texts)|answer|respond|reply|rate|score|act)\b",
        ),
        (
            "act behave respond answer",
            rf" (?:just )?(?:as|like) (?:if you (?:are|were) )?(?:an? |the |my )?(?:\w+ )?"
            rf"(?:dan\b|{_MODEL})",
        ),
        (
            "pretend",
            r" (?:to be|(?:that )?you(?: a|')re) (?:an?|the|my|dan|not an?|another|going)\b",
        ),
        (
            "dan developer god jailbreak unrestricted sudo",
            r" mode\b",
        ),
        ("do", r" anything now\b"),
        ("system", r"[- _]?prompt"),
        ("system_prompt systemprompt rot13 base64", ""),
        (
            "initial original hidden secret base",
            r" (?:prompt|instructions?)\b",
        ),
        ("prompt", r" injection\b"),
        ("jailbroken jailbreak", r" (?:ai|mode|prompt|model|yourself)\b"),
        (
            "reveal print repeat leak output display show tell",
            r"(?: me)? (?:your|the) (?:\w+ )?(?:prompt|instructions|api key)\b",
        ),
        (
            "new additional updated revised special important real actual",
            r" (?:instructions?|task|directives?)(?: (?:for|to) (?:you|the \w+))? ?:",
        ),
        ("as", r" an ai\b"),
        ("language", r" models?\b"),
        ("llm llms", ""),
        ("set", r" by openai\b"),
        (
            "dear hey hi hello attention",
            rf",? (?:the |any |all |whatever |every )?(?:sentiment |automated )?{_MODEL}",
        ),
        ("note message instructions", rf" (?:to|for) (?:the |any )?{_MODEL}"),
        ("if", rf" you(?: are|'re) an? (?:\w+ )?{_MODEL}"),
        (
            "ai grok gpt chatgpt model assistant analyst analyser analyzer classifier",
            r" (?:that (?:is )?)?(?:read|process|analy[sz]|scor|rat|grad)(?:ing|es?|s)"
            r" (?:this|these)\b",
        ),
        ("decode", r" (?:this|it|the (?:following|above)|(?:and|then) \w+)\b"),
        (
            "call invoke run execute use",
            r" (?:the |your |a )?(?:tool|function)\b[^.!?\n]{0,3}\w+_\w+",
        ),
    ),
    "dictated_answer": (
        (
            "rate score mark label classify categorise categorize tag treat grade judge count"
            " report return evaluate",
            rf"(?: \w+){{1,5}}? ?(?:as|with|to|at|=|:)(?: an?)?(?: \w+)? ?{_QUOTE}?{_MOOD}"
            rf"|(?: \w+){{0,3}} {_NUMBER}(?! (?:star|of \d|out of))",
        ),
        (
            "sentiment",
            rf"(?: \w+){{0,2}}{_QUOTE}? ?(?:to|is|as|=|:|must|should|shall|will|of|be)"
            rf" ?(?:be |to |set |equal )*{_QUOTE}?{_MOOD}",
        ),
        (
            "score confidence",
            rf" ?(?:to|is|as|=|:|of|at|must be|should be)? ?{_NUMBER}",
        ),
        (
            "be",
            r" (?:classified|rated|scored|label\w+|marked|tagged|treated|judged|graded|counted)"
            rf"(?: \w+){{0,3}} {_MOOD}",
        ),
        (
            "classification label rating",
            rf"(?: \w+){{0,4}} ?(?:is|=|:|must be|should be) ?{_QUOTE}?{_MOOD}",
        ),
        (
            "set change make assign raise lower keep use add put give",
            rf"{_FEW}(?:sentiment|clusters?|confidence|reasoning)(?: score| names?)?"
            r" ?(?:to|as|=|:|must)",
        ),
        (
            "cluster clusters",
            r" name\b| (?:must|should|shall|has to) (?:be|contain|include)\b",
        ),
        (
            "answer respond reply output return say print write",
            rf"(?: \w+){{0,4}}? [-+]?[01]\.0\b"
            rf"| (?:only|just|exactly|solely|with nothing but) (?:with|in|as|using|the|{_QUOTE})"
            r"| (?:only )?(?:with )?(?:the|this|one|a single) (?:single |exact )?(?:word|phrase)\b"
            rf"|{_FEW}json\b",
        ),
        ("emit produce", rf"{_FEW}json\b"),
        (
            "only just simply instead and",
            r" (?:answer|respond|reply|output|print|say|write)(?: with)?"
            r"(?: the (?:single |one |exact )?(?:word|phrase|sentence|text)\b|:? ?[\"“«「])",
        ),
        (  # What changes the form of an answer can break its JSON, and so its neighbours' results.
            "add include insert integrate modify augment enhance replace substitute convert"
            " rearrange scramble jumble misspell remove group combine anagram introduce render use"
            " provide write format end begin start finish prefix preface translate encode spell",
            r"(?:[^\w\n]++\w++){0,16}?[^\w\n]++(?<!for )your (?:next |final |entire |whole )?"
            r"(?:answer|response|reply|output)\b(?! (?:to (?:my|our|me)|on|about|regarding)\b)",
        ),
        (
            "replace substitute convert scramble jumble misspell rearrange reverse",
            rf"{_FEW}(?:letters?|vowels|consonants|characters|words)\b",
        ),
        ("render encode express phrase", r" your message (?:in|as|by|using|with)\b"),
        (
            "in",
            r" your (?:next |final |entire |whole )?(?:answer|response|reply|output), ",
        ),
        (
            "clasifica clasifique califica califique classifica classifique marca marque puntúa"
            " valora valuta evalue évalue évaluez evalúa avalie bewerte bewerten markiere"
            " werte note notez classe classez",
            rf"{_FEW}(?:como|comme|als|mit|come)\b(?: \w+)? (?:positiv|positif|negativ|négatif)",
        ),
    ),
    "forged_answer": (
        ("sentiment_score conversation_id", ""),
        (
            "cluster clusters confidence reasoning sentiment",
            rf"{_QUOTE}? ?[:=] ?(?:[\[{{]|{_QUOTE}|[-+]?\d)",
        ),
        ("results", rf"{_QUOTE} ?: ?[\[{{]"),
    ),
    "other_texts": (
        (
            "translate score rate treat skip summarise summarize repeat mark label classify drop"
            " omit swap judge analyse analyze grade apply assign give copy",
            _FEW + _OTHERS,
        ),
        (
            "ignore disregard",
            rf"(?: all)?(?: of)?(?: the| these)? (?:other|next|following|remaining) {_TEXTS}",
        ),
        (
            "other next following remaining previous preceding above below neighbouring neighboring"
            " all every each",
            rf" (?:of )?(?:the |these |those )?{_TEXTS}{_FEW}{_MOOD}",
        ),
        (
            "the all every any",
            r" other (?:ids?|results|conversations|entries|texts|inputs)\b",
        ),
        (
            "all",
            r" (?:the )?(?:results|ids|entries|conversations) (?:must|should|are|shall|have to)\b",
        ),
        ("for of to swap change with", r" (?:the )?ids? \"?\d{1,3}\b"),
    ),
    "role_marker": (
        (
            "system",
            r" (?:message|override|notice|note|command|update) ?:",
        ),
    ),
    "forged_delimiter": (
        (
            "end begin beginning start",
            r"(?: of|[ _-])(?: the)? ?(?:text|data|input|tweets?|messages?|conversations?"
            r"|documents?|prompt|(?:user|customer|untrusted) \w+)\b(?= *(?:[-=*#\].:>\n]|$))",
        ),
    ),
}

# Scripts that are asked only where a text has other than ASCII.
OTHER_SCRIPTS = {
    "override": (
        r"(?:игнорируй|проигнорируй|забудь|не обращай).{0,40}?(?:инструкци|указани|команд|предыдущ)"
        r"|(?:忽略|忽視|忽视|无视|無視|忘记|忘記|忘掉|不要理会|不要遵守).{0,15}?"
        r"(?:指令|指示|提示|规则|規則|命令|设定|設定|以上|上述|上面)"
        r"|(?:指示|命令|指令|プロンプト|ルール|上記|設定).{0,12}?(?:無視(?:し[てろな]|せよ)|忘れ[てろ])"
        r"|(?:تجاهل|انس).{0,30}?(?:تعليمات|[أا]وامر|توجيهات|ما سبق)"
        r"|(?:지시|명령|프롬프트|지침).{0,12}?(?:무시|잊)"
        r"|निर्देश.{0,30}?(?:अनदेखा|भूल|नज)"
        r"|talimat.{0,20}?(?:yok say|görmezden|unut)"
    ),
    "dictated_answer": (
        r"(?:оцени|отметь|пометь|считай).{0,40}?(?:позитивн|положительн)"
        r"|(?:标记|標記|评为|標為|标为|归类|视为|打分).{0,10}?(?:正面|积极|積極|负面)"
        r"|(?:ポジティブ|肯定的).{0,10}?(?:評価|判定|分類)(?:し[てろな]|せよ|すること)"
    ),
}
# These start from a sign, not from a word.
SIGNS = {
    "role_marker": (
        r"[\n.!?\])>\"] ?[\[<(#* ]{0,4}(?:system|assistant|human|developer|ai|instructions?)"
        r"[\])>#* ]{0,4}:"
        r"|\[/?(?:inst|system|assistant|gpt|dan)\]|</?(?:system|assistant|s)>|<</?sys>>"
        r"|<\|[\w ]{1,30}\|>|<(?:start|end)_of_turn>"
        r"|#{3} ?(?:system|assistant|human|user|instruction|response|input|new|end)"
    ),
    "forged_delimiter": (
        r"```|~~~"
        r"|</?(?:text|tweet|data|messages?|conversations?|inputs?|user[\w-]*|doc(?:ument)?s?"
        r"|content|prompt|instructions?|context|query|json|results?|untrusted[\w-]*)\b[^<>\n]{0,80}>"
        rf"|[\"”] ?\}} ?[\],]|\}} ?,? ?\] ?[,}}\"]|\]\}}|\}} ?, ?\{{ ?{_QUOTE}"
        r"|[-=#]{3} ?(?:end|begin|new|system|ignore)\b"
    ),
}

# --- disguises ------------------------------------------------------------------------------------

_INVISIBLE = [
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x180E, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
]
SEEN: dict[int, str] = {
    **dict.fromkeys(_INVISIBLE, ""),
    # Made for language tags: shown as nothing, and read by models as ASCII.
    **{0xE0000 + code: chr(code) for code in range(0x20, 0x7F)},
    # Single characters that NFKC makes a sentence of.
    **dict.fromkeys([0xFDFA, 0xFDFB], " "),
}
LOOKALIKES = str.maketrans(
    "аеорсхуіјѕԁһԛԝвнкмтѵӏαοριντυκεχᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɡıłøđ013457@$|",
    "aeopcxyijsdhqwbhkmtvlaopivtukexabcdeghijklmnoprstuvwyzgilodoieastasl",
)
