"""Match messages against search words that no index covers."""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


def split_words(text: str) -> Iterator[str]:
    """Yield the words of a text, normalized for case and width."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    word = ""
    for char in folded:
        if char.isalnum() or unicodedata.combining(char):
            word += char
        elif word:
            yield word
            word = ""
    if word:
        yield word


@dataclass(frozen=True, slots=True)
class Search:
    """Searches words, or beginnings of words, in the subject, and metadata.

    Each of `metadata` is a key and its value; None matches any value.
    """

    subject: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str | None], ...] = ()

    def matches(self, subject: str, metadata: Mapping[str, str]) -> bool:
        """Whether a message matches."""
        for key, value in self.metadata:
            if key not in metadata or value not in {None, metadata[key]}:
                return False
        if not self.subject:
            return True
        subject_words = set(split_words(subject))
        return all(
            any(subject_word.startswith(word) for subject_word in subject_words)
            for word in self.subject
        )
