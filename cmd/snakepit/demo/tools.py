"""A search index over the documentation of Python's own library.

The index lives in the session: one variable for each module, so that indexing
another module commits only what is new.
"""

import importlib
import inspect
import math
import re
from collections import Counter

from snakepit import tool


def words(text: str) -> Counter:
    """Counts the words of a text, without the ending of a plural."""
    return Counter(re.sub(r"(?<=..[^s])s$", "", word) for word in re.findall(r"[a-z]{3,}", text.lower()))


@tool
def index_module(module: str, session) -> dict:
    """Adds the documentation of a module's public functions and classes."""
    entries = {}
    for name, value in vars(importlib.import_module(module)).items():
        doc = inspect.getdoc(value) if callable(value) and not name.startswith("_") else None
        if doc and (getattr(value, "__module__", None) or module).lstrip("_").startswith(module):
            entries[f"{module}.{name}"] = {
                "summary": doc.strip().splitlines()[0],
                "words": words(f"{name} {doc}"),
            }
    session.vars[f"index:{module}"] = entries
    return {"module": module, "entries": len(entries)}


@tool(readonly=True)
def search(query: str, session, limit: int = 3) -> list:
    """Finds the entries that fit a query best; rare words count more."""
    entries = {
        name: entry
        for key, part in session.vars.items()
        if key.startswith("index:")
        for name, entry in part.items()
    }
    wanted = words(query)
    spread = Counter(word for entry in entries.values() for word in wanted if word in entry["words"])
    hits = []
    for name, entry in entries.items():
        length = sum(entry["words"].values())
        score = sum(
            entry["words"].get(word, 0) / (length + 20) * math.log(1 + len(entries) / spread[word])
            for word in wanted
            if spread[word]
        )
        if score > 0:
            hits.append({"name": name, "score": round(score, 4), "summary": entry["summary"]})
    hits.sort(key=lambda hit: (-hit["score"], hit["name"]))
    return hits[:limit]


@tool(readonly=True)
def size(session) -> dict:
    """Says how much has been indexed."""
    parts = [part for key, part in session.vars.items() if key.startswith("index:")]
    return {
        "modules": len(parts),
        "entries": sum(len(part) for part in parts),
        "words": sum(sum(entry["words"].values()) for part in parts for entry in part.values()),
    }
