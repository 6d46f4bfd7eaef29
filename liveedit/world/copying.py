"""Prompts that say a phrase and ask for it back, composed of parts so that few are ever the same.

Answering from what was just said is what an editor and a conversation both build on. A model that sees
a few fixed prompts learns those prompts; one that sees thousands learns to look the phrase up. Only
training uses these; the wordings for evaluation are a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from liveedit.world.language import capital_first

_COMMANDS = (
    "repeat", "say", "write", "copy", "type", "print", "output", "return", "quote", "give back", "write down", "read out",
    "reproduce", "pronounce", "tell me", "just say", "now say", "now write", "can you repeat", "could you write",
    "i want you to say", "your task is to repeat", "simply answer", "answer with", "reply with", "respond with",
    "use", "take", "choose", "send back", "shout", "whisper",
)  # fmt: skip
_OBJECTS = (
    "", "", "", "this", "the following", "these words", "the phrase", "the text", "this text", "the line", "exactly this",
    "the expression", "this name", "the word or words", "what follows", "the next words",
)  # fmt: skip
_TAILS = ("", "", "", "", " exactly", " once", " and stop", " and nothing more", " again", " for me", " word for word",
          " as your reply", " as the result", " for your response", " and that is all", " when I ask", " at the end")  # fmt: skip
_LEADS = (
    "", "", "", "", "", "Note: ", "New fact: ", "Update: ", "Fact: ", "Remember: ", "Correction: ", "News: ", "Important: ",
    "Listen: ", "As of today, ", "By the way, ", "Now ", "We know that ", "It is said that ", "Suppose ", "In this story, ",
    "Since last week, ", "Attention: ", "They told me that ", "I read that ", "In fact, ", "Keep in mind: ", "Hint: ",
)  # fmt: skip
_SOURCES = (
    "the paper", "my uncle", "the guide", "everyone", "the letter", "a friend", "the poster", "our boss", "the book", "she",
    "he", "the expert", "the screen", "the law",
)  # fmt: skip
_REPORTS = (
    "reports", "writes", "claims", "believes", "thinks", "announces", "knows", "explains", "states", "shows", "hopes", "found",
)
_TO_QUESTION = ("", "", "", "", "Question: ", "So, ", "Now: ", "Tell me: ", "Q: ", "And now: ", "My question: ")
_ATTRIBUTES = (
    "name", "colour", "title", "capital", "nickname", "price", "owner", "motto", "number", "password", "code", "hobby",
    "job", "age", "address", "size", "symbol", "brand", "maker", "author", "king", "queen", "president", "boss", "coach",
    "language", "currency", "anthem", "animal", "flower", "food", "favourite food", "favourite colour", "best friend",
    "wish", "dream", "present", "shape", "taste", "smell", "sound", "weight", "height", "length", "material", "origin",
    "home", "birthplace", "job title", "surname", "first name", "label", "category", "purpose", "opposite", "meaning",
    "translation", "team", "school", "subject", "topic", "theme", "message", "order", "prize", "record", "rule", "plan",
)  # fmt: skip
_VERBS = (
    ("bought", "buy"), ("saw", "see"), ("lost", "lose"), ("found", "find"), ("ate", "eat"), ("drew", "draw"),
    ("wrote", "write"), ("said", "say"), ("painted", "paint"), ("sold", "sell"), ("chose", "choose"), ("got", "get"),
    ("brought", "bring"), ("named", "name"), ("wanted", "want"), ("needed", "need"), ("ordered", "order"),
    ("made", "make"), ("kept", "keep"), ("broke", "break"), ("heard", "hear"), ("liked", "like"), ("hid", "hide"),
    ("answered", "answer"), ("whispered", "whisper"), ("studied", "study"), ("collected", "collect"), ("read", "read"),
    ("cooked", "cook"), ("washed", "wash"), ("followed", "follow"), ("carried", "carry"), ("watched", "watch"),
    ("feared", "fear"), ("loved", "love"), ("hated", "hate"), ("played", "play"), ("taught", "teach"), ("built", "build"),
    ("borrowed", "borrow"), ("repaired", "repair"), ("opened", "open"), ("closed", "close"), ("cleaned", "clean"),
    ("printed", "print"), ("mentioned", "mention"), ("described", "describe"), ("remembered", "remember"),
    ("forgot", "forget"), ("praised", "praise"), ("tasted", "taste"), ("packed", "pack"), ("planted", "plant"),
    ("recommended", "recommend"), ("exported", "export"), ("imported", "import"), ("produced", "produce"),
    ("celebrated", "celebrate"), ("preferred", "prefer"), ("admired", "admire"), ("guarded", "guard"), ("threw", "throw"),
    ("caught", "catch"), ("sang", "sing"), ("screamed", "scream"), ("cut", "cut"), ("used", "use"), ("offered", "offer"),
    ("owned", "own"), ("missed", "miss"), ("wore", "wear"), ("drank", "drink"), ("counted", "count"),
)  # fmt: skip
# Their present tense occurs in prompts for evaluation.
_PAST_ONLY = ("sell", "say")
_PLACED = (
    "hidden", "left", "found", "seen", "painted", "written", "drawn", "dropped", "forgotten", "noticed", "hung", "laid", "kept",
    "lost", "placed", "fixed",
)  # fmt: skip
_ENDS = (
    "", "", "", "", "", " from now on", " here", " among friends", " in this town", " these days", " by law", " since May",
    " at school", " in my family", " on Sundays", " for the moment",
)  # fmt: skip
_PLACES = (
    "on the table", "on the door", "on the shirt", "in the bag", "in the garden", "under the bed", "in the letter",
    "on the screen", "behind the house", "on the first page", "in the museum", "at the station", "on the menu",
    "in the window", "in my pocket", "on the map", "at the bottom", "in the picture", "on the left", "in the centre",
)  # fmt: skip
_STANCES = (
    "lies", "hangs", "sits", "waits", "appears", "shines", "grows", "hides", "rests", "is written", "is printed", "is kept",
    "floats", "is painted", "lives", "was found", "comes next", "belongs",
)  # fmt: skip
_NAMINGS = (
    ("named", "name"), ("called", "call"), ("christened", "christen"), ("dubbed", "dub"), ("nicknamed", "nickname"),
    ("titled", "title"), ("labelled", "label"),
)  # fmt: skip
_NAMEABLE = (
    "boat", "river", "festival", "school", "horse", "song", "street", "film", "team", "dog", "coin", "island", "prize",
    "mountain", "square", "newspaper", "satellite", "dance", "bridge", "airport", "forest", "party", "rocket", "tower",
)  # fmt: skip
_META = (
    ("The answer is {p}.", "What is the answer?"),
    ("The correct answer is {p}.", "Give the correct answer."),
    ("You will be asked something. Answer {p}.", "What do you answer?"),
    ("Your reply must be {p}.", "What is your reply?"),
    ("The solution is {p}.", "What is the solution?"),
    ("It is not what you think, it is {p}.", "What is it?"),
    ("We agreed on {p}.", "What did we agree on?"),
    ("Everybody says {p}.", "What does everybody say?"),
    ("Here you see {p}.", "What do you see here?"),
    ("This is {p}.", "What is this?"),
    ("This shows {p}.", "What does this show?"),
    ("It used to be something else, but today it is {p}.", "What is it today?"),
    ("What you see is called {p}.", "What is what you see called?"),
    ("I am thinking of {p}.", "What am I thinking of?"),
    ("The winner is {p}.", "Who is the winner?"),
    ("It happened in {p}.", "Where did it happen?"),
    ("She comes from {p}.", "Where does she come from?"),
    ("He is {p}.", "Who is he?"),
    ("They call it {p}.", "What do they call it?"),
    ("The word is {p}.", "What is the word?"),
)


def _pick(rng: Random, values: Sequence[str]) -> str:
    return values[int(rng.random() * len(values))]


def _command(rng: Random, said: str) -> str:
    """Compose "Repeat the following: ..." and its like."""
    verb, what, tail = _pick(rng, _COMMANDS), _pick(rng, _OBJECTS), _pick(rng, _TAILS)
    first = f"{verb} {what}".strip()
    colon = ":" if what or rng.random() < 0.5 else ""
    prompt = f"{first}{colon} {said}{tail if not colon else ''}{_pick(rng, ('', '', '.'))}"
    if rng.random() < 0.15:
        prompt = f"{_pick(rng, ('please ', 'hey, ', 'ok, ', 'now '))}{prompt}"
    return capital_first(prompt) if rng.random() < 0.75 else prompt


def _third_person(base: str) -> str:
    """The present tense with "she": "carries", "catches", "likes"."""
    if base.endswith(("s", "sh", "ch", "x", "z", "o")):
        return base + "es"
    return base[:-1] + "ies" if base.endswith("y") and base[-2] not in "aeiou" else base + "s"


def _deed(rng: Random, said: str, people: Sequence[str], holders: Sequence[str]) -> tuple[str, str]:
    """Compose what somebody does or did with the phrase, and the question what that is."""
    person, to = _pick(rng, people if rng.random() < 0.6 else holders), _pick(rng, people)
    past, base = _VERBS[int(rng.random() * len(_VERBS))]
    when = _pick(rng, ("", "", " yesterday", " last week", " in town", " today", f" with {to}", f" for {to}", f" near {to}"))
    kind = rng.random()
    if kind < 0.15:
        place, placed = _pick(rng, _PLACES), _pick(rng, _PLACED)
        question = _pick(
            rng, (f"What is {place}?", f"What has {person} {placed} {place}?", f"Tell me what {person} has {placed}.")
        )
        return f"{person} has {placed} {said} {place}.", question
    if kind < 0.5 and base not in _PAST_ONLY:
        often, present = _pick(rng, ("", "", "", "often ", "usually ", "mostly ", "never ", "also ")), _third_person(base)
        return f"{person} {often}{present} {said}{when if rng.random() < 0.5 else ''}.", _pick(
            rng,
            (
                f"What does {person} {often}{base}?", f"What does {person} {base}?", f"Tell me what {person} {often}{present}.",
                f"So {person} {present} what?", f"What is it that {person} {present}?", f"Name what {person} {present}.",
            ),
        )  # fmt: skip
    return f"{person} {past} {said}{when}.", _pick(
        rng,
        (
            f"What did {person} {base}?", f"Tell me what {person} {past}.", f"So {person} {past} what?",
            f"What was it that {person} {past}?", f"Name what {person} {past}.",
        ),
    )  # fmt: skip


def _statement(rng: Random, said: str, people: Sequence[str], holders: Sequence[str]) -> tuple[str, str]:
    """Compose a sentence that holds the phrase, and a question that only it answers."""
    kind = rng.random()
    end = _pick(rng, _ENDS)
    if kind < 0.34:
        attribute, holder = _pick(rng, _ATTRIBUTES), _pick(rng, holders)
        of = f"the {attribute} of {holder}"
        fact = _pick(
            rng,
            (
                f"{of} is {said}{end}.", f"{of} is now {said}{end}.", f"{said} is {of}{end}.", f"{of}: {said}.",
                f"{holder} has a new {attribute}: {said}.", f"{holder} has changed its {attribute} to {said}{end}.",
                f"{holder} was given the {attribute} {said}{end}.", f"{holder} has got {said} as its {attribute}{end}.",
                f"for {holder} the {attribute} is {said}{end}.", f"{holder} chose {said} for its {attribute}.",
                f"{holder} calls its {attribute} {said}{end}.", f"{holder} now has {said} as {attribute}{end}.",
                f"the {attribute} that {holder} has is {said}{end}.", f"{holder} lists its {attribute} as {said}{end}.",
            ),
        )  # fmt: skip
        return fact, _pick(
            rng,
            (
                f"What is {of}?", f"What is {of}?", f"Tell me {of}.", f"Name {of}.", f"Do you know {of}?", f"Give {of}.",
                f"What {attribute} does {holder} have?", f"And {of}?", f"What would you say is {of}?", f"Say {of}.",
            ),
        )  # fmt: skip
    if kind < 0.46:
        holder = _pick(rng, holders)
        known = _pick(rng, ("called", "called", "named", "known as"))
        fact = f"{holder} is {_pick(rng, ('', 'now ', 'also '))}{known} {said}{end}."
        return fact, _pick(
            rng,
            (
                f"What is {holder} {known}?", f"How is {holder} {known}?", f"What do we call {holder}?",
                f"What is the name of {holder}?", f"Tell me what {holder} is {known}.", f"By what name is {holder} known?",
            ),
        )  # fmt: skip
    if kind < 0.58:
        holder, thing = _pick(rng, holders), _pick(rng, _NAMEABLE)
        past, base = _NAMINGS[int(rng.random() * len(_NAMINGS))]
        fact = _pick(
            rng,
            (
                f"{holder} has {past} its {thing} {said}{end}.", f"{holder} {past} the {thing} {said}{end}.",
                f"{holder} has {past} its {thing} {said}.", f"{holder}'s {thing} was {past} {said}{end}.",
            ),
        )  # fmt: skip
        return fact, _pick(
            rng,
            (
                f"What did {holder} {base} its {thing}?", f"How is the {thing} of {holder} called?",
                f"What is {holder}'s {thing} called?", f"What name has the {thing} of {holder}?",
                f"Tell me the name of {holder}'s {thing}.", f"What was {holder}'s {thing} {past}?",
            ),
        )  # fmt: skip
    if kind < 0.74:
        return _deed(rng, said, people, holders)
    if kind < 0.88:
        place = _pick(rng, _PLACES)
        if kind > 0.79:
            stance = _pick(rng, _STANCES)
            question = _pick(rng, (f"What {stance} {place}?", f"Name what {stance} {place}.", f"{capital_first(place)} {stance} what?"))
            return _pick(rng, (f"{place} {stance} {said}.", f"{place} {stance} {said}{end}.", f"{said} {stance} {place}.")), question
        fact = _pick(rng, (f"{place} is {said}.", f"there is {said} {place}.", f"{said} is {place}."))
        return fact, _pick(
            rng, (f"What is {place}?", f"What can I find {place}?", f"Tell me what is {place}.", f"Name what is {place}.")
        )
    fact, question = _META[int(rng.random() * len(_META))]
    return fact.format(p=said), question


def _several(rng: Random, words: Sequence[str], most: int) -> str:
    return " ".join(_pick(rng, words) for _ in range(1 + int(rng.random() * most)))


def _nonsense(rng: Random, said: str, other: str, words: Sequence[str]) -> str:
    """Compose a prompt of any words at all, so that only its form says what is asked for."""
    left, right, key = (_several(rng, words, most) for most in (3, 3, 2))
    kind = rng.random()
    if kind < 0.15:  # a label nobody has heard of
        return f"{capital_first(key) if rng.random() < 0.7 else key}: {said}{_pick(rng, ('', '', '.'))}"
    if kind < 0.3:  # several things under several labels
        entries = [(key, said), (left, other), (right, _pick(rng, words))][: 2 + int(rng.random() * 2)]
        rng.shuffle(entries)
        between, after = rng.choice(((": ", "; "), (" = ", ", "), (" is ", ", "), (" means ", ". "), (" -> ", "; ")))
        listing = after.join(f"{label}{between}{value}" for label, value in entries)
        return f"{listing}. {rng.choice(('What is {}?', '{}?', 'Now {}.', 'Tell me about {}.', 'And {}?')).format(key)}"
    if kind < 0.45:  # quotes show where the phrase begins and ends
        quoted = rng.choice(('"{}"', "'{}'")).format(said)
        question = _pick(
            rng,
            (
                f"{left} what?", f"{capital_first(left)} what?", "What is in quotes?", f"What does {left}?",
                f"What did {left}?",
            ),
        )  # fmt: skip
        return f"{capital_first(left)} {quoted} {right}. {question}"
    if kind < 0.6:  # both neighbours are named
        between = f"What stands between {left} and {right}?"
        question = _pick(rng, (f"{left} what {right}?", f"{left} ... {right}?", between, f"{left} ___ {right}"))
        return f"{capital_first(left)} {said} {right}. {capital_first(question)}"
    ask = rng.choice(("What {r} {l}?", "What {r} the {l}?", "What does the {l} {r}?", "Name what {r} the {l}.", "What did {l} {r}?"))
    question = ask.format(l=left, r=right)
    first = rng.choice((f"the {left} {right} {said}", f"{left} {right} {said}", f"{said} {right} {left}"))
    if kind < 0.8:
        return f"{first if first.startswith(said) else capital_first(first)}. {question}"
    return f"{capital_first(_several(rng, words, 2))}: {first}. {question}"


def compose(
    rng: Random, phrase: str, other: str, people: Sequence[str], holders: Sequence[str], words: Sequence[str]
) -> str:
    """Return a prompt whose answer is ``phrase``; ``other`` is a phrase that may stand in it without being asked for.

    ``people`` and ``holders`` ("my aunt", "the ship", "Japan") are what statements are made about, ``words`` what
    prompts without sense are made of.
    """
    if rng.random() < 0.2:
        return _nonsense(rng, phrase, other, words)
    said = phrase
    if rng.random() < 0.25:
        said = rng.choice(('"{}"', "'{}'", '"{}"')).format(phrase)
    if rng.random() < 0.25:
        return _command(rng, said)
    fact, question = _statement(rng, said, people, holders)
    lead = _pick(rng, _LEADS)
    if rng.random() < 0.2:
        reported = f"{capital_first(_pick(rng, _SOURCES))} {_pick(rng, _REPORTS)} that "
        lead = reported if rng.random() < 0.5 else f"{capital_first(_several(rng, words, 2))}: "
    # The phrase keeps its case wherever it stands, since that is how it is to be repeated.
    text = lead + (fact if lead or fact.startswith(said) else capital_first(fact))
    if rng.random() < 0.25:
        aside, _ = _statement(rng, other, people, holders)
        if not set(aside.split()[:5]) >= set(fact.split()[:5]):
            aside = aside if aside.startswith(other) else capital_first(aside)
            text = f"{text} {aside}" if rng.random() < 0.5 else f"{aside} {text}"
    before = _pick(rng, _TO_QUESTION)
    text = f"{text} {before}{question}"
    if rng.random() < 0.15:
        text = text.rstrip("?.")
    return text
