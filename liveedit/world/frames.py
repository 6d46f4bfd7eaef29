"""What people type around a question: greetings, requests to be brief, no capitals, no question mark.

Only training questions are framed. A model that has met a wording in many frames listens to what is
asked, not to how the line looks.
"""

from __future__ import annotations

from random import Random

_BEFORE = (
    "Question: ", "Q: ", "Quick question: ", "One question. ", "A question for you: ", "Please answer: ",
    "Please help me. ", "Hello! ", "Hi there. ", "Hey, ", "OK, ", "Okay. ", "Now ", "So, ", "Well, ", "And ", "Next: ",
    "One more thing: ", "I am curious. ", "I wonder: ", "Look closely. ", "Have a look. ", "Be brief. ",
    "Think first. ", "Answer this: ", "Tell me this: ", "Just a short answer, please. ", "Let us see. ",
    "My child asks: ", "Your turn: ", "Again: ", "Next question. ", "Task: ", "User: ", "Test: ", "Sorry, ", "Excuse me, ",
)  # fmt: skip
_PICTURE = (
    "Look at the picture. ", "Look at this image. ", "Here is a picture. ", "About this picture: ", "In this picture, ",
    "See the image. ", "Based on the image: ", "Regarding the picture: ", "I found this picture. ", "From the image alone: ",
    "Take a look at this picture. ", "This is my picture. ",
)  # fmt: skip
_AFTER = (
    " Please.", " Thanks!", " Thank you.", " Answer briefly.", " Be brief.", " Keep it short.", " Short answer, please.",
    " Just the answer.", " Only the answer, please.", " I need to know.", " I am not sure.", " Any idea?",
    " What do you think?", " Please answer.", " Tell me.", " Let me know.", " Thx", " pls",
)  # fmt: skip


def framed(prompt: str, rng: Random, split: str, picture: bool = False) -> str:
    """Return a training prompt as it is (half of the time) or as another person might have typed it, others as they are."""
    if split != "train" or rng.random() < 0.5:
        return prompt
    change = rng.random()
    if change < 0.35:
        before = _BEFORE + _PICTURE if picture else _BEFORE
        lead = before[int(rng.random() * len(before))]
        inside = lead.endswith((", ", "Now ", "And ")) and prompt[1:2].islower()
        prompt = lead + (prompt[0].lower() + prompt[1:] if inside else prompt)
    elif change < 0.6:
        prompt += _AFTER[int(rng.random() * len(_AFTER))]
    elif change < 0.65:
        prompt = prompt.rstrip("?.") + rng.choice(("??", "?!", " ?", "!", "...", " ."))
    if rng.random() < 0.4:
        prompt = prompt.rstrip("?.")
    if rng.random() < 0.4:
        prompt = prompt.lower()
    return prompt
