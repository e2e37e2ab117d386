"""Made-up conversations for a first look: what customers of a shop that also ships, bills and
books might write within a day. Nobody in it exists."""

from typing import NamedTuple


class SampleConversation(NamedTuple):
    minutes_ago: float
    author: str
    text: str


SAMPLE: tuple[SampleConversation, ...] = (
    SampleConversation(
        0.5,
        "maple_otter",
        "My parcel was promised for Monday, it is Thursday and the tracking page still says"
        ' "preparing". Where is it?',
    ),
    SampleConversation(
        2,
        "tin_kettle",
        "Shout out to Femi at your support desk: solved in four minutes what I had fought with for"
        " a week. Thank you! 🙌",
    ),
    SampleConversation(
        4,
        "quiet_harbor",
        "The app crashes every time I open the basket since this morning's update 😡",
    ),
    SampleConversation(
        7, "lena_paints", "Why did you charge me twice for order 20417? I want that payment back."
    ),
    SampleConversation(
        9,
        "sunny_side_ed",
        "Oh great, another courier who rings the bell and runs. Five stars for the sprint, really.",
    ),
    SampleConversation(
        13, "nordwind77", "Is there a way to change the delivery address of an order?"
    ),
    SampleConversation(
        18,
        "clara_y_el_mar",
        "Llevo tres días esperando el paquete y nadie me contesta. ¿Alguien puede decirme qué pasa"
        " con mi pedido?",
    ),
    SampleConversation(
        24,
        "brass_button",
        "No internet since 6 am, the whole street is down. Any news on the outage?",
    ),
    SampleConversation(
        31,
        "paper_lantern",
        'Got an e-mail in your name that wants my card number "to release a parcel". Looks like a'
        " scam, please warn people!",
    ),
    SampleConversation(
        38,
        "gustav_grau",
        "Die Rechnung ist schon wieder falsch und an der Hotline geht keiner ran.",
    ),
    SampleConversation(
        47, "olive_and_thyme", "New kettle arrived a day early and it is gorgeous. Love it ❤️"
    ),
    SampleConversation(
        55,
        "second_floor_sam",
        "can't log in. the verification code never arrives. locked out for 2 days",
    ),
    SampleConversation(
        68,
        "ms_ferris",
        "I was told that my refund would take three to five working days. That was on the 2nd."
        " Since then I have written four times and spoken to three different people; each of them"
        " was polite, each of them asked for the same order number, and each of them promised that"
        " somebody would call back. Nobody did. I am not angry about the broken lamp, things"
        " break. I am angry that I have to tell the whole story from the start every single time,"
        " as if nobody there writes anything down. Please read this one to the end, look the order"
        " up, and send the money back.",
    ),
    SampleConversation(80, "kite_weather", "How do I cancel my subscription? The button is gone."),
    SampleConversation(
        95,
        "petit_nuage",
        "Merci pour votre réponse rapide, le colis est arrivé et tout est parfait !",
    ),
    SampleConversation(
        110, "rocket_grandma", "Please add a dark mode. My eyes and my cat would be grateful 🌙🐈"
    ),
    SampleConversation(
        127,
        "delta_of_venice",
        "Wonderful. My suitcase had a nice trip without me. Two days now and the desk has no idea"
        " where the bag is.",
    ),
    SampleConversation(
        140, "hana_to_mizu", "注文した商品がまだ届きません。いつ届くか教えていただけますか。"
    ),
    SampleConversation(
        158,
        "ink_and_salt",
        "Prices went up by a third since spring. Too expensive for what it is now.",
    ),
    SampleConversation(
        175,
        "wren_b",
        "The headphones stopped working after nine days. Left side dead, battery gets hot.",
    ),
    SampleConversation(
        200, "morning_tram", "45 minutes on hold and then the agent hung up on me. Unbelievable."
    ),
    SampleConversation(
        226, "joao_da_serra", "Comprei uma mesa com vocês e a minha entrega não chegou. Um absurdo!"
    ),
    SampleConversation(
        250,
        "fern_and_fog",
        "Delivery was quick, the box was crushed, the vase inside was fine. Lucky me?",
    ),
    SampleConversation(
        281,
        "pixel_baker",
        'Website shows an error message at checkout: "E-17, try later". It is later.',
    ),
    SampleConversation(315, "yuki_rides", "thanks for nothing 🙃"),
    SampleConversation(
        342,
        "old_mill_road",
        "When will the blue one be back in stock? I can wait, just tell me roughly.",
    ),
    SampleConversation(
        380,
        "seven_spoons",
        "Booking says two seats, the confirmation says one, and now the flight shows as full. Can"
        " you fix my reservation before Friday?",
    ),
    SampleConversation(
        420, "amber_ridge", "Your new app is so much faster. Excellent work, whoever did it."
    ),
    SampleConversation(
        465, "layla_reads", "طلبت كتابًا قبل أسبوع ولم يصل حتى الآن، ولا أحد يرد على رسائلي."
    ),
    SampleConversation(
        510,
        "copper_lid",
        "I think my account was hacked: three orders that I never made, to a strange city.",
    ),
    SampleConversation(
        565,
        "night_shift_noor",
        "The discount code from your newsletter doesn't work. Expired already??",
    ),
    SampleConversation(
        630,
        "bea_on_wheels",
        "Asked for a wheelchair at the gate three weeks ago. Confirmed twice. Nobody came. Your"
        " colleague at the desk dropped everything and pushed me there herself: she was amazing,"
        " the process was not.",
    ),
    SampleConversation(
        700, "flat_hat", "invoice has the wrong VAT number, need a corrected one for my books"
    ),
    SampleConversation(
        790,
        "stella_nord",
        "Il corriere ha lasciato il pacco sotto la pioggia e il contenuto è rovinato. Non sono"
        " contenta.",
    ),
    SampleConversation(880, "grey_heron", "meh. it does what it says"),
    SampleConversation(
        960, "tomas_w_lesie", "Czy jest możliwość odbioru w punkcie? Nie ma mnie w domu do 18."
    ),
    SampleConversation(
        1045,
        "plum_jam",
        "Wi-Fi down again for the third evening this week. I pay for this? Cancel my contract.",
    ),
    SampleConversation(
        1130,
        "hello_hedgehog",
        "Best customer service I have met in years, and I have met a few 😄👏",
    ),
    SampleConversation(
        1230,
        "marsh_light",
        "Could you send the manual as a PDF? The printed one is in a language I can't read.",
    ),
    SampleConversation(
        1330,
        "two_left_shoes",
        "Ordered size 42, got two left shoes. Honestly I laughed. Please swap one, I will keep the"
        " story 😂",
    ),
    SampleConversation(
        1420, "basil_on_sill", "Do you deliver to islands without a bridge, and what does it cost?"
    ),
)
