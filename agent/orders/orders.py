"""What this instance is asked to do: its tags, read in this place only.

The command line writes them (`src/resources/orders.rs`). The cases in `tests/orders` hold both sides to the same values.
A value that does not have the form of its tag is refused, and costs that tag alone.
"""

from collections import namedtuple

from boot.validate import match, number

LEASE = "ssh:"  # Before the id of a lease, in the name of its tag.
# By tag: the form of its value; the words for that form, if the report is to say that the value was refused.
TAGS = {
    "release": ("release", "the id of a release (64 hexadecimal digits)"),
    "token": ("number", "a version number"),
    "try": ("attempt", "a word"),
    "secrets": ("fingerprint", "the fingerprint of secrets"),
    "references": ("fingerprint", "the fingerprint of references"),
    "data": ("data order", "the id of a volume, or none"),
    "address": ("address", None),
    "logs": ("log request", None),
}


class Orders(
    namedtuple("Orders", "release token attempt secrets address log leases references data", defaults=(None,) * 9)
):
    """`token`: the version that SSM should have by now; the agent always takes the newest. `attempt` changes to have what
    failed tried again. `secrets`: the fingerprint that they should have in SSM by now; the agent takes those that SSM has. `references`: the same for secrets that are kept
    elsewhere. `data`: the volume with the app's files, or `none`: give it back.
    `leases`: by id, what lets a key in by SSH (`ssh/keys.py` checks it)."""

    __slots__ = ()

    def answered(self):
        """What a report names, to say which orders it answers."""
        return {
            "release": self.release,
            "token": self.token,
            "try": self.attempt,
            "secrets": self.secrets,
            "references": self.references,
            "data": self.data,
        }


def parse_orders(tags):
    """(orders, refused) of tags by name. `refused`: by tag, why its value does not count."""
    refused = {}

    def value(tag):
        form, words = TAGS[tag]
        text = tags.get(tag)
        if match(form, text):
            return text
        if text and words:
            refused[tag] = f"the tag devopsctl:{tag} is not {words}: {ascii(text)[:80]}"
        return None

    leases = {name[len(LEASE) :]: text for name, text in tags.items() if text and is_lease(name)}
    token = number(value("token"))
    known = value("secrets"), value("address"), value("logs"), leases, value("references"), value("data")
    return Orders(value("release"), token, value("try"), *known), refused


def read_orders(metadata):
    """(orders, refused) as the metadata service has the tags now."""
    tags, unreadable = {}, {}
    for name in metadata.tag_names():
        if name in TAGS or is_lease(name):
            try:
                tags[name] = metadata.tag(name)
            except ValueError:
                unreadable[name] = f"the tag devopsctl:{name} is not UTF-8"
    orders, refused = parse_orders(tags)
    return orders, {**unreadable, **refused}


def is_lease(name):
    return name.startswith(LEASE) and match("lease", name[len(LEASE) :]) is not None
