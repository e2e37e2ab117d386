"""How messages reach people outside: which addresses may be called and how, signatures, and the
shapes that receivers take.

    addresses.py       which URLs are taken, and which addresses of their hosts
    web_client.py      one POST to an address that was checked
    mail.py            an e-mail, and sending it
    signing.py         Standard Webhooks: secrets and signatures
    wording.py         a message as words for people
    fitting.py         cutting to a limit, escaping on the way
    standard.py slack.py teams.py discord.py    bodies, pure
"""
